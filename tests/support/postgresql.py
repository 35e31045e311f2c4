"""A PostgreSQL server of a test: `with running_postgresql() as url: ...`, `{url}/name` is a database to create."""

from loadtest.postgresql import binaries, create_database, running_postgresql

__all__ = ["binaries", "create_database", "running_postgresql"]
