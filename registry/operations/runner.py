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

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from registry.audit.event import Origin
from registry.audit.log import append
from registry.audit.record import Change
from registry.db import operations as db
from registry.db import sequence
from registry.db.engine import Database
from registry.errors import RegistryError
from registry.operations import rules
from registry.operations.model import Ending, Operation, Step

# One chunk: settles some things after `operation.position`, in the transaction that it is given.
Work: TypeAlias = Callable[[Connection, Operation], Step]

LEASE_S = 10.0
BEAT_S = 2.0
POLL_S = 0.5
FORGET_PERIOD_S = 3600.0
KEPT_MS = 30 * 86_400_000
MAX_AT_ONCE = 4
log = structlog.get_logger()


class Runner:
    """`run` until cancelled; `wake` it when an operation was begun."""

    def __init__(self, database: Database, works: Mapping[str, Work]) -> None:
        """Args: works: by the method that begins them."""
        self._database = database
        self._works = works
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
            if not await self._database.read(db.list_operations, 0, 1, is_done=False):
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
        return db.claim(connection, self._worker, now_ms, now_ms - int(LEASE_S * 1000), limit) if limit > 0 else []

    async def _work(self, operation: Operation) -> None:
        log.info("operation_taken", operation=operation.operation_id, position=operation.position)
        ending: Ending | None = None
        is_over = False
        while not is_over:
            try:
                if ending is None:
                    is_over = await self._database.write(self._chunk, operation.operation_id)
                else:
                    await self._database.write(self._end, operation.operation_id, ending)
                    is_over = True
            except (OperationalError, InterfaceError) as exc:  # the database is away, or busy
                log.warning("operation_waits", operation=operation.operation_id, error=str(exc))
                await asyncio.sleep(BEAT_S)
            except Exception as exc:
                if ending is not None:
                    raise
                ending = _ending_of(exc)
                if ending.reason == "INTERNAL":
                    log.error("operation_failed", operation=operation.operation_id, exc_info=exc)
            moved, self._moved = self._moved, asyncio.Event()
            moved.set()

    def _chunk(self, connection: Connection, operation_id: str) -> bool:
        """Do one chunk; True: that was the last, or the operation is not ours any more."""
        operation = db.find_operation(connection, operation_id)
        if operation is None or operation.is_done or operation.worker != self._worker:
            return True
        if operation.is_cancel_requested:
            text = f"cancelled after {operation.progress.processed} of {operation.progress.total}"
            self._end(connection, operation_id, Ending("CancelledError", "CANCELLED", text))
            return True
        work = self._works.get(operation.method)
        if work is None:
            text = f"this version of the registry does not know how to go on with {operation.method}"
            self._end(connection, operation_id, Ending("AbortedError", "OPERATION_UNKNOWN", text))
            return True
        step = work(connection, operation)
        db.save_step(connection, operation.operation_num, step, sequence.now_ms())
        return step.is_over

    def _end(self, connection: Connection, operation_id: str, ending: Ending) -> None:
        operation = db.find_operation(connection, operation_id)
        if operation is None or operation.is_done or operation.worker != self._worker:
            return
        db.end(connection, operation.operation_num, ending, sequence.now_ms())
        told = {"processed": operation.progress.processed, "total": operation.progress.total}
        ended = Change(f"operations/{operation_id}", None, told)
        append(connection, Origin(operation.actor, operation.method), [ended], ending.reason)

    def _forget(self, connection: Connection) -> None:
        db.delete_done_before(connection, sequence.now_ms() - KEPT_MS)


def _ending_of(exc: Exception) -> Ending:
    if isinstance(exc, RegistryError):
        return Ending(type(exc).__name__, exc.reason, str(exc))
    return Ending("RegistryError", "INTERNAL", "internal error; see the log")
