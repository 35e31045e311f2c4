"""A registry in PostgreSQL in a backup: `pg_dump` out, `pg_restore` in."""

import os
import subprocess
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, select, text
from sqlalchemy import inspect as inspect_database
from sqlalchemy.engine import make_url

from registry.backup import RegistryCopy
from registry.db.schema import device_types, devices, metrics, operators

FILE = "registry/registry.pgdump"


class ToolError(Exception):
    """`pg_dump` or `pg_restore` is missing or failed; its text says what it said."""


def is_postgresql(url: str) -> bool:
    """Raises: sqlalchemy.exc.ArgumentError for a URL that is none."""
    return bool(url) and make_url(url).get_backend_name() == "postgresql"


def copy(url: str, target: Path) -> RegistryCopy:
    """Dump the database as of one moment, also while the registry writes; the rows are those of the dump.

    Raises: ToolError; sqlalchemy.exc.SQLAlchemyError.
    """
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    try:
        with engine.begin() as connection:
            found = _contents(connection)
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            _run("pg_dump", url, "--format=custom", "--no-owner", f"--snapshot={snapshot}", f"--file={target}")
    finally:
        engine.dispose()
    return found


def is_empty(url: str) -> bool:
    """Whether the database has no tables. Raises: sqlalchemy.exc.SQLAlchemyError."""
    engine = create_engine(url)
    try:
        return not inspect_database(engine).get_table_names()
    finally:
        engine.dispose()


def restore(url: str, dump: Path) -> None:
    """Fill an empty database, whole or not at all. Raises: ToolError."""
    _run("pg_restore", url, "--single-transaction", "--exit-on-error", "--no-owner", str(dump))


def _contents(connection: Connection) -> RegistryCopy:
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    there = set(inspect_database(connection).get_table_names())
    rows = {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (devices, device_types, metrics, operators)
        if table.name in there
    }
    return RegistryCopy(revision, rows)


def _run(tool: str, url: str, *arguments: str) -> None:
    """The password goes by the environment: arguments are there for everybody to see."""
    address = make_url(url)
    environment = {**os.environ, **({"PGPASSWORD": str(address.password)} if address.password else {})}
    bare = address.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    try:
        done = subprocess.run(
            [tool, f"--dbname={bare}", *arguments], env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as exc:
        raise ToolError(f"{tool} is not installed: it comes with PostgreSQL's client") from exc
    if done.returncode:
        raise ToolError(f"{tool}: {done.stderr.strip()[:500]}")
