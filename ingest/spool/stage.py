"""The spool stage: append, fsync, acknowledge; close segments by age, rows or bytes and hand them to write."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

import structlog

from ingest.metrics import SPOOL_FSYNC_SECONDS, SpoolState
from ingest.model import SealedBatch, Segment
from ingest.spool.memory import MemorySpool
from ingest.spool.spool import Spool
from runtime.pipe import Pipe
from runtime.threads import named_pool

log = structlog.get_logger()

_RETRY_S = 1.0
# The store may become idle while an open segment waits for its age.
_LOOK_AGAIN_S = 0.05


async def _nothing(_: Executor) -> None:
    pass


async def spool_stage(
    sealed: Pipe[SealedBatch],
    closed: Pipe[Segment],
    spool: Spool | MemorySpool,
    state: SpoolState,
    is_awaited: Callable[[], bool] = lambda: False,
    keep: Callable[[Executor], Awaitable[None]] = _nothing,
) -> None:
    """Run until `sealed` is closed and empty; then close the last segment and `closed`.

    A disk that refuses (full, failing) stops the stage at that batch: nothing behind it is acknowledged, the pipes fill
    up to the sockets, and the append is tried again every second.

    Args:
        is_awaited: whether all segments that were closed have been written, so that the store waits for the next.
        keep: makes durable what came beside readings, on the given thread. Raises: OSError; it is called again then.
    """
    loop = asyncio.get_running_loop()
    with named_pool("spool") as disk:

        async def close() -> None:
            segment = await loop.run_in_executor(disk, spool.close_segment)
            state.closed(segment)
            await closed.put(segment)

        while True:
            batch = await _next_batch(sealed, spool, is_awaited)
            if batch is not None:
                state.took(batch)
                started = time.perf_counter()
                is_appended = False
                while True:
                    try:
                        if not is_appended:
                            if spool.is_on_disk:
                                await loop.run_in_executor(disk, spool.append, batch)
                            else:
                                spool.append(batch)
                            is_appended = True
                        await keep(disk)
                        break
                    except OSError as exc:
                        spool.problem = exc.strerror or str(exc)
                        log.error("spool_append_failed", reason=spool.problem, retry_s=_RETRY_S)
                        state.append_failures += 1
                        if spool.is_spoiled:
                            await close()
                        await asyncio.sleep(_RETRY_S)
                spool.problem = ""
                SPOOL_FSYNC_SECONDS.observe(time.perf_counter() - started)
                state.appended(batch)
                batch.on_durable()
            ended = batch is None and sealed.is_ended
            if spool.has_open_rows and (ended or not spool.closes_in_s(is_awaited=is_awaited())):
                await close()
            if ended:
                break
    closed.close()


async def _next_batch(
    sealed: Pipe[SealedBatch], spool: Spool | MemorySpool, is_awaited: Callable[[], bool]
) -> SealedBatch | None:
    """The next batch; None if the open segment may come of age first, or at the end of the pipe."""
    if not spool.has_open_rows:
        return await sealed.get()
    try:
        wait_s = spool.closes_in_s(is_awaited=is_awaited())
        async with asyncio.timeout(max(0.001, min(wait_s, _LOOK_AGAIN_S))):
            return await sealed.get()
    except TimeoutError:
        return None
