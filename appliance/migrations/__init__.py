"""The database's schema, step by step (Alembic); every step can be taken back."""
