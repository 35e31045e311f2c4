"""One of several registries on a PostgreSQL does a job, by an advisory lock that ends with the connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from sqlalchemy import Engine

from registry.db.notify import CONNECT_S, connect

if TYPE_CHECKING:
    from psycopg import AsyncConnection

# How soon another one takes over, and how long two may think that they lead if the connection of one of them broke.
CHECK_S = 3.0
log = structlog.get_logger()


async def lead(
    engine: Engine, lock: int, work: Callable[[], Awaitable[NoReturn]], follow: Callable[[], Awaitable[None]]
) -> NoReturn:
    """Run `work` whenever this process is the one that has the lock, until cancelled. `work` is cancelled when the lock
    may be lost, so it must bear that another does the same for some seconds.

    Args: follow: called every few seconds while another leads.
    Raises: whatever `work` or `follow` raises.
    """
    import psycopg  # an extra, which this database cannot be reached without

    is_well = True
    while True:
        try:
            async with await connect(engine) as connection:
                is_well = True
                while not await _ask(connection, f"SELECT pg_try_advisory_lock({lock})"):
                    await follow()
                    await asyncio.sleep(CHECK_S)
                await _while_held(connection, work)
        except (psycopg.Error, OSError) as exc:  # TimeoutError is an OSError
            if is_well:
                log.warning("database_lead_lost", lock=lock, reason=str(exc).strip()[:300])
            is_well = False
        await asyncio.sleep(CHECK_S)


async def _while_held(connection: "AsyncConnection[Any]", work: Callable[[], Awaitable[NoReturn]]) -> NoReturn:
    working = asyncio.ensure_future(work())
    try:
        while True:
            await asyncio.wait([working], timeout=CHECK_S)
            if working.done():
                await working
            await _ask(connection, "SELECT true")
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _ask(connection: "AsyncConnection[Any]", query: str) -> bool:
    async with asyncio.timeout(CONNECT_S):
        row = await (await connection.execute(query)).fetchone()
    return row is not None and bool(row[0])
