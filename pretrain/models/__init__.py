"""Models: sizes and families, heads, FLOPs."""
