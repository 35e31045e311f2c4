"""The registry's database in a backup: a consistent copy while it is in use, and how a restored one goes on."""

import contextlib
import secrets
import sqlite3
from pathlib import Path

import msgspec
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, delete, func, select, update

from registry.db.engine import migrate
from registry.db.schema import device_types, devices, metrics, operators, registry_state, sync_positions

FILE = "registry/registry.db"
# What a registry gave out after the backup lives on elsewhere: in readings, in the index of an ingest node, in the
# dimension tables of a ClickHouse server. A restored registry goes on far behind it.
_SKIPPED_NUMBERS = 1_000_000
_SKIPPED_KINDS = 100  # metric numbers have 16 bits


class RegistryCopy(msgspec.Struct, frozen=True):
    """`revision`: of the schema."""

    revision: str
    rows: dict[str, int]


class DamagedError(Exception):
    """The database is not whole; its text says what SQLite found."""


def copy_sqlite(source: Path, target: Path) -> RegistryCopy:
    """Copy the database as of one moment, also while the registry writes. Raises: sqlite3.Error; DamagedError."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=30)) as live,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)  # in one step: nothing that is written meanwhile makes it begin again
        # One file, without a write-ahead log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(f"the registry's database is damaged: {found}")
    return inspect(target)


def inspect(path: Path) -> RegistryCopy:
    """What a SQLite file of ours holds. Raises: sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        revision = database.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        there = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = {
            table.name: database.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]  # noqa: S608
            for table in (devices, device_types, metrics, operators)
            if table.name in there
        }
    return RegistryCopy(revision, rows)


def known_revisions() -> set[str]:
    """The schemas that this version knows how to bring up to date."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "db" / "migrations").replace("%", "%%"))
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def go_on_after_restore(url: str) -> None:
    """Give a restored database a life of its own: no number and no revision that the one before may have given out
    after the backup is given out again, who watches it begins anew, and the dimension tables are written in full."""
    engine = create_engine(url)
    try:
        # It may be of an earlier version, which did not count all that this one does.
        migrate(engine)
        with engine.begin() as connection:
            _go_on(connection)
    finally:
        engine.dispose()


def _go_on(connection: Connection) -> None:
    state = registry_state.c
    connection.execute(
        update(registry_state).values(
            registry_id=secrets.token_hex(16),
            revision=state.revision + _SKIPPED_NUMBERS,
            last_device_num=state.last_device_num + _SKIPPED_NUMBERS,
            last_metric_num=state.last_metric_num + _SKIPPED_KINDS,
            last_type_num=state.last_type_num + _SKIPPED_KINDS,
            last_site_num=state.last_site_num + _SKIPPED_NUMBERS,
            last_group_num=state.last_group_num + _SKIPPED_NUMBERS,
            last_operation_num=state.last_operation_num + _SKIPPED_NUMBERS,
        )
    )
    connection.execute(delete(sync_positions))
    assert connection.execute(select(func.count()).select_from(registry_state)).scalar_one() == 1
