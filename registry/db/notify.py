"""Registries on one PostgreSQL tell each other of their commits, by LISTEN and NOTIFY."""

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from sqlalchemy import Connection, Engine, func, select

if TYPE_CHECKING:
    from psycopg import AsyncConnection

CHANNEL = "cityfleet_registry"
# A server that is gone without a word is noticed by this, and a notification that was lost is made up for.
CHECK_S = 10.0
CONNECT_S = 10
_BACKOFF_S = (0.2, 10.0)
# registry_state has one row.
_HEAD = "SELECT revision FROM registry_state"
log = structlog.get_logger()


def notify(connection: Connection, revision: int) -> None:
    """Tell the others once this transaction commits."""
    connection.execute(select(func.pg_notify(CHANNEL, str(revision))))


async def connect(engine: Engine) -> "AsyncConnection[Any]":
    """A connection of its own to the PostgreSQL of `engine`, as SQLAlchemy would make it: the URL may say more than a
    connection string can. Raises: psycopg.Error, OSError."""
    from psycopg import AsyncConnection

    arguments, options = engine.dialect.create_connect_args(engine.url)
    options = {**options, "autocommit": True, "connect_timeout": CONNECT_S}
    return await AsyncConnection.connect(*arguments, **options)


async def listen(engine: Engine, ring: Callable[[int], None]) -> NoReturn:
    """Call `ring` with each revision that anybody commits, until cancelled; a lost connection is made again."""
    import psycopg  # an extra, which this database cannot be reached without

    delay_s, is_well = _BACKOFF_S[0], True
    while True:
        try:
            async with await connect(engine) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                while True:
                    async with asyncio.timeout(CONNECT_S):
                        row = await (await connection.execute(_HEAD)).fetchone()
                    assert row is not None
                    ring(row[0])
                    if not is_well:
                        log.info("database_heard_again")
                    delay_s, is_well = _BACKOFF_S[0], True
                    async for note in connection.notifies(timeout=CHECK_S):
                        ring(int(note.payload))
        except (psycopg.Error, OSError) as exc:  # TimeoutError is an OSError
            if is_well:
                log.warning("database_not_heard", reason=str(exc).strip()[:300])
            is_well = False
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
        delay_s = min(delay_s * 2, _BACKOFF_S[1])
