"""Engines, one file each: why_not, compile, open."""
