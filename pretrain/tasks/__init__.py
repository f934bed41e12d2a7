"""Tasks of the paper, one file each: read, encode, decode and metric, torch-free."""
