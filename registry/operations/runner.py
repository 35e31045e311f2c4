"""Works on operations, chunk by chunk.

A chunk and the note that it is done are one transaction, which also makes sure that the operation is still ours. So
each chunk is done once, whoever is killed in the middle of it, and however many registries share the database.
"""

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec
import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from registry import metrics
from registry.audit.event import Origin
from registry.audit.log import append
from registry.audit.record import Change
from registry.db import operations as db
from registry.db import sequence
from registry.db.engine import Database
from registry.errors import RegistryError
from registry.operations import rules
from registry.operations.model import ATTENDED, MAX_MESSAGE, Ending, Operation, Progress, Step

# One chunk: settles some things after `operation.position`, in the transaction that it is given.
Work: TypeAlias = Callable[[Connection, Operation], Step]

LEASE_S = 10.0
BEAT_S = 2.0
POLL_S = 0.5
FORGET_PERIOD_S = 3600.0
KEPT_MS = 30 * 86_400_000
MAX_AT_ONCE = 4
# A chunk that a database refuses which is there and answers: so often it is tried, after pauses that double.
MAX_TRIES = 8
MAX_RETRY_S = 30.0
log = structlog.get_logger()


class Runner:
    """`run` until cancelled; `wake` it when an operation was begun."""

    def __init__(self, database: Database, works: Mapping[str, Work], retry_s: float = BEAT_S) -> None:
        """Args: works: by the method that begins them. retry_s: the first pause before a chunk is tried again."""
        self._database = database
        self._works = works
        self._retry_s = retry_s
        self._worker = uuid.uuid4().hex
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._next_forgetting = time.monotonic()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                await self._take_over()
                try:
                    async with asyncio.timeout(BEAT_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            # If the database is away, others take over when the lease is over.
            with contextlib.suppress(SQLAlchemyError):
                await asyncio.shield(self._database.write(db.release, self._worker))

    async def wait(self, operation_id: str, timeout_s: float) -> Operation:
        """The operation when it has ended, or as it is when the time is up or the registry is about to leave.

        Raises: NotFoundError.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while True:
            moved = self._moved
            operation = await self._database.read(rules.get, operation_id)
            left = end - loop.time()
            if operation.is_done or left <= 0 or self._database.bell.is_closed:
                return operation
            try:
                # Another process may be the one that works on it.
                async with asyncio.timeout(min(left, POLL_S)):
                    await moved.wait()
            except TimeoutError:
                pass

    async def _take_over(self) -> None:
        try:
            if time.monotonic() >= self._next_forgetting:
                await self._database.write(self._forget)
                self._next_forgetting = time.monotonic() + FORGET_PERIOD_S
            if self._tasks:
                await self._database.write(db.heartbeat, self._worker, sequence.now_ms())
            if not await self._database.read(db.has_open, ATTENDED):
                return
            for operation in await self._database.write(self._claim, MAX_AT_ONCE - len(self._tasks)):
                task = asyncio.create_task(self._work(operation), name=operation.operation_id)
                self._tasks[operation.operation_num] = task
                task.add_done_callback(functools.partial(self._ended, operation.operation_num))
        except SQLAlchemyError as exc:
            log.warning("operations_unreachable", error=str(exc))

    def _ended(self, number: int, _: asyncio.Task[None]) -> None:
        self._tasks.pop(number, None)
        self._wake.set()

    def _claim(self, connection: Connection, limit: int) -> list[Operation]:
        now_ms = sequence.now_ms()
        stale_ms = now_ms - int(LEASE_S * 1000)
        return db.claim(connection, self._worker, now_ms, stale_ms, limit, ATTENDED) if limit > 0 else []

    async def _work(self, operation: Operation) -> None:
        log.info("operation_taken", operation=operation.operation_id, position=operation.position)
        with metrics.operations_running.track_inprogress():
            ending: Ending | None = None
            tries = 0
            is_over = False
            while not is_over:
                try:
                    if ending is None:
                        turn = await self._database.write(self._chunk, operation.operation_id)
                    else:
                        turn = await self._database.write(self._end, operation.operation_id, ending)
                    tries, is_over = 0, turn.is_over
                    _count(turn)
                except SQLAlchemyError as exc:
                    tries += await self._is_reachable()
                    if ending is None and (not _may_pass(exc) or tries >= MAX_TRIES):
                        ending = Ending("RegistryError", "DATABASE_ERROR", _refusal(exc))
                        log.error("operation_failed", operation=operation.operation_id, error=ending.message)
                        continue
                    metrics.operation_retries.inc()
                    log.warning("operation_waits", operation=operation.operation_id, error=str(exc).strip()[:300])
                    await asyncio.sleep(min(self._retry_s * 2 ** min(max(0, tries - 1), MAX_TRIES), MAX_RETRY_S))
                except Exception as exc:
                    if ending is not None:
                        raise
                    ending = ending_of(exc)
                    if ending.reason == "INTERNAL":
                        log.error("operation_failed", operation=operation.operation_id, exc_info=exc)
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()

    async def _is_reachable(self) -> bool:
        """Whether the database answers at all. While it is away nothing is held against an operation."""
        try:
            await self._database.read(sequence.head)
        except SQLAlchemyError:
            return False
        return True

    def _chunk(self, connection: Connection, operation_id: str) -> "_Turn":
        """Do one chunk. Over: that was the last, or the operation is not ours any more."""
        operation = db.find_operation(connection, operation_id)
        if operation is None or operation.is_done or operation.worker != self._worker:
            return _Turn(None, True)
        if operation.is_cancel_requested:
            text = f"cancelled after {operation.progress.processed} of {operation.progress.total}"
            return self._end(connection, operation_id, Ending("CancelledError", "CANCELLED", text))
        work = self._works.get(operation.method)
        if work is None:
            text = f"this version of the registry does not know how to go on with {operation.method}"
            return self._end(connection, operation_id, Ending("AbortedError", "OPERATION_UNKNOWN", text))
        step = work(connection, operation)
        db.save_step(connection, operation, step, sequence.now_ms())
        return _Turn(operation, step.is_over, step.progress, "OK" if step.is_over else "")

    def _end(self, connection: Connection, operation_id: str, ending: Ending) -> "_Turn":
        operation = db.find_operation(connection, operation_id)
        if operation is None or operation.is_done or operation.worker != self._worker:
            return _Turn(None, True)
        db.end(connection, operation.operation_num, ending, sequence.now_ms())
        told = {"processed": operation.progress.processed, "total": operation.progress.total}
        ended = Change(f"operations/{operation_id}", None, told)
        append(connection, Origin(operation.actor, operation.method), [ended], ending.reason)
        return _Turn(operation, True, operation.progress, ending.reason)

    def _forget(self, connection: Connection) -> None:
        db.delete_done_before(connection, sequence.now_ms() - KEPT_MS)


class _Turn(msgspec.Struct, frozen=True):
    """One transaction: the operation before it (None: not ours), and what it came to; `result` empty: it goes on."""

    operation: Operation | None
    is_over: bool
    progress: Progress = Progress()
    result: str = ""


def _count(turn: _Turn) -> None:
    """For the metrics, what is committed."""
    if turn.operation is None:
        return
    method, before = turn.operation.method.rpartition("/")[2], turn.operation.progress
    for outcome in ("succeeded", "unchanged", "failed"):
        done = getattr(turn.progress, outcome) - getattr(before, outcome)
        metrics.operation_items.labels(method, outcome).inc(done)
    if turn.result:
        took_ms = max(0, sequence.now_ms() - turn.operation.create_time_ms)
        metrics.operation_seconds.labels(method, turn.result).observe(took_ms / 1000)


def _may_pass(exc: SQLAlchemyError) -> bool:
    """Whether the same may succeed later: the database was away, busy, full. By the driver's own error (PEP 249)."""
    if not isinstance(exc, DBAPIError) or exc.orig is None:
        return True
    return any(kind.__name__ in ("OperationalError", "InterfaceError") for kind in type(exc.orig).__mro__)


def _refusal(exc: SQLAlchemyError) -> str:
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    said = str(cause).strip().partition("\n")[0][:MAX_MESSAGE]
    return f"the database did not take a chunk: {type(cause).__name__}: {said}; what was done before stays done"


def ending_of(exc: Exception) -> Ending:
    if isinstance(exc, RegistryError):
        return Ending(type(exc).__name__, exc.reason, str(exc)[:MAX_MESSAGE])
    if isinstance(exc, SQLAlchemyError):
        return Ending("RegistryError", "DATABASE_ERROR", _refusal(exc))
    return Ending("RegistryError", "INTERNAL", "internal error; see the log")
