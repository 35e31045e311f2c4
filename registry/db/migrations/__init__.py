"""Alembic migrations of the registry, applied when it starts."""
