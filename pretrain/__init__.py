"""Texts and models: from documents without patients to a finetuned bundle."""
