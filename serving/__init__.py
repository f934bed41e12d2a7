"""Finished models: compile, publish, serve and ask. Knows no hospital messages and needs no torch."""
