"""The write stage: one closed segment after the other, each retried until ClickHouse has it, then deleted."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from ingest.errors import PoisonError, UnavailableError
from ingest.metrics import WRITE_INSERT_SECONDS, WriteState
from ingest.model import Segment
from runtime.pipe import Pipe
from runtime.threads import named_pool

log = structlog.get_logger()

_BACKOFF_S = (0.1, 10.0)


class BlockWriter(Protocol):
    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert Native blocks under a deduplication token. Raises UnavailableError or PoisonError."""


# Tables and their insert bodies; raises ValueError if the file was damaged since it was closed.
Bodies = list[tuple[str, bytes]]
ReadBodies = Callable[[Segment], Bodies]


async def write_stage(closed: Pipe[Segment], read: ReadBodies, writer: BlockWriter, state: WriteState) -> None:
    """Run until `closed` is closed and empty. May be cancelled at any await: what is not deleted is written again.

    While one segment is inserted the next one is read; `read` is never called twice at once.
    """
    ready: Pipe[tuple[Segment, Bodies]] = Pipe(1)
    async with asyncio.TaskGroup() as both:
        both.create_task(_read(closed, ready, read, state), name="read_segments")
        both.create_task(_write_all(ready, writer, state), name="write_segments")


async def _read(
    closed: Pipe[Segment], ready: Pipe[tuple[Segment, Bodies]], read: ReadBodies, state: WriteState
) -> None:
    loop = asyncio.get_running_loop()
    with named_pool("segments") as thread:
        async for segment in closed:
            state.took(segment)
            await ready.wait_writable()
            try:
                bodies = await loop.run_in_executor(thread, read, segment)
            except ValueError as exc:
                await _set_aside(segment, state, PoisonError(str(exc), 0))
            else:
                await ready.put((segment, bodies))
    ready.close()


async def _write_all(ready: Pipe[tuple[Segment, Bodies]], writer: BlockWriter, state: WriteState) -> None:
    async for segment, bodies in ready:
        await _write(segment, bodies, writer, state)


async def _write(segment: Segment, bodies: Bodies, writer: BlockWriter, state: WriteState) -> None:
    delay_s = _BACKOFF_S[0]
    started = time.monotonic()
    while True:
        try:
            for table, body in bodies:
                await writer.insert(table, body, f"{segment.name}-{table}")
            break
        except UnavailableError as exc:
            state.retries += 1
            state.unavailable = str(exc)
            log.warning("write_retry", segment=segment.name, retry_s=round(delay_s, 2), reason=str(exc))
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])
        except PoisonError as exc:
            await _set_aside(segment, state, exc)
            return
    state.unavailable = ""
    WRITE_INSERT_SECONDS.observe(time.monotonic() - started)
    await asyncio.to_thread(segment.remove)
    state.written(segment)


async def _set_aside(segment: Segment, state: WriteState, exc: PoisonError) -> None:
    """Keep the file beside the spool for a person; it must not stop what comes behind it."""
    aside = await asyncio.to_thread(segment.set_aside)
    state.set_aside(segment)
    log.error("write_segment_set_aside", segment=segment.name, code=exc.code, path=str(aside), reason=str(exc))
