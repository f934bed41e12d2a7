"""Codecs: bytes to records and back."""
