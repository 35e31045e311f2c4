"""Operations that are streams: an import, an export. Its client has the file, so no other registry can go on with one;
but while it runs it is seen, waited for and cancelled like any other, and it ends whoever is killed.

How far one is goes to the database with a chunk of its own at most once a second, and for those that have no chunk to
write once in a while for all of them together.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from registry import metrics
from registry.audit.event import Origin
from registry.audit.log import append
from registry.audit.record import Change
from registry.db import operations as db
from registry.db import sequence
from registry.db.engine import Database
from registry.errors import AbortedError, CancelledError, RegistryError
from registry.operations.model import ATTENDED, Ending, Operation, Progress
from registry.operations.runner import LEASE_S

R = TypeVar("R")

BEAT_S = 1.0
# Between two notes of one operation: in a chunk of its own, and without one.
NOTE_S, IDLE_NOTE_S = 1.0, 2.0
# So long a stream that is over may take to notice by itself. One whose client does not read never would.
PATIENCE_S = 5.0
log = structlog.get_logger()


class Attended:
    """One of them, for the call that it is. Of the event loop, but for `note`.

    Attributes: name: `operations/{operation_id}`; empty: nobody knows of it. progress: what is committed, or sent.
    """

    def __init__(self, operation: Operation, cut: Callable[[RegistryError], object]) -> None:
        """Args: cut: ends the call by force."""
        self.num, self.method, self.operation_id = operation.operation_num, operation.method, operation.operation_id
        self.name = f"operations/{operation.operation_id}" if operation.operation_num else ""
        self.progress = self._noted = operation.progress
        self.create_time_ms = operation.create_time_ms
        self.is_settled = self.is_saving = False
        self.ending: Ending | None = None
        self._noted_s = time.monotonic()
        self._over: asyncio.Future[RegistryError] = asyncio.get_running_loop().create_future()
        self._cut = cut
        self._cutting: asyncio.TimerHandle | None = None

    def is_due(self, after_s: float = NOTE_S) -> bool:
        """Whether it is time to note how far it is."""
        return time.monotonic() - self._noted_s >= after_s

    def note(self, connection: Connection, progress: Progress) -> None:
        """Note what it comes to with the transaction that this is part of.

        Raises: CancelledError, AbortedError: it is not to go on.
        """
        for is_cancelled in db.called_off(connection, [self.num]).values():
            raise self._why(is_cancelled)
        is_other = progress.failures is not self._noted.failures
        db.note(connection, self.num, progress, sequence.now_ms(), has_new_failures=is_other)

    def advance(self, progress: Progress, *, is_noted: bool = False) -> None:
        """Args: is_noted: it was noted in a transaction that is committed."""
        self.progress = progress
        if is_noted:
            self.noted(progress)

    def noted(self, progress: Progress) -> None:
        """So far the database knows."""
        self._noted, self._noted_s = progress, time.monotonic()

    def check(self) -> None:
        """Raises: CancelledError, AbortedError: it is not to go on."""
        if self._over.done():
            raise self._over.result()

    async def during(self, work: "asyncio.Task[R]") -> R:
        """What `work` returns. Raises: as `check`, at once; and what `work` raises."""
        waited: set[asyncio.Future[Any]] = {work, self._over}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        self.check()
        return work.result()

    def call_off(self, is_cancelled: bool) -> None:
        """Args: is_cancelled: by somebody; else another registry has taken it for lost."""
        if not self._over.done():
            why = self._why(is_cancelled)
            self._over.set_result(why)
            self._cutting = asyncio.get_running_loop().call_later(PATIENCE_S, self._cut, why)

    def leave(self) -> None:
        """The call is over."""
        if self._cutting is not None:
            self._cutting.cancel()

    def after(self, what: str) -> str:
        """A sentence: `what` has happened, how far it was by then, and what to do."""
        return _sentence(self.operation_id, self.method, what, self.progress)

    def _why(self, is_cancelled: bool) -> RegistryError:
        told = {"operation": self.operation_id}
        if is_cancelled:
            return CancelledError(self.after(f"{self.name} was cancelled"), metadata=told)
        text = self.after(f"{self.name} was taken for lost by another registry, or forgotten,")
        return AbortedError(text, reason="OPERATION_LOST", metadata=told)


class AttendedOperations:
    """Those that run in this process. `run` until cancelled, then `leave`; `wake` it when one was cancelled."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.worker = uuid.uuid4().hex
        self._open: dict[int, Attended] = {}
        self._saving: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    def add(self, operation: Operation, cut: Callable[[RegistryError], object]) -> Attended:
        """Args: operation: that `worker` has begun. cut: ends its call by force."""
        one = self._open[operation.operation_num] = Attended(operation, cut)
        metrics.operations_running.inc()
        return one

    def unknown(self, method: str) -> Attended:
        """One that could not be begun, and that nobody needs to see."""
        now_ms = sequence.now_ms()
        nobody = Operation(0, "", "", method, b"", Progress(), None, False, False, 0, "", 0, now_ms, now_ms)
        one = Attended(nobody, type)
        one.is_settled = True
        return one

    async def settle(self, one: Attended, ending: Ending | None) -> None:
        """It has ended; if the database is away by now, that is noted later. A second time nothing happens.

        Args: ending: None: it is done.
        """
        if one.is_settled:
            return
        one.is_settled, one.ending = True, ending
        one.leave()
        metrics.operations_running.dec()
        await asyncio.shield(self._save_later(one))

    async def run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._beat()
            except SQLAlchemyError as exc:
                log.warning("operations_unreachable", error=str(exc).strip()[:300])
            try:
                async with asyncio.timeout(BEAT_S):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def leave(self) -> None:
        """All calls are over: wait until what became of them is noted."""
        await asyncio.gather(*self._saving, return_exceptions=True)

    async def _beat(self) -> None:
        for one in list(self._open.values()):
            if one.is_settled and not one.is_saving:
                await self._save_later(one)
        if due := [one for one in self._open.values() if not one.is_settled and one.is_due(IDLE_NOTE_S)]:
            far = [(one, one.progress) for one in due]
            await self._database.write(self._note, far)
            for one, progress in far:
                one.noted(progress)
        if running := [num for num, one in self._open.items() if not one.is_settled]:
            for num, is_cancelled in (await self._database.read(db.called_off, running)).items():
                if num in self._open:
                    self._open[num].call_off(is_cancelled)
        if await self._database.read(db.lost, ATTENDED, _stale_ms()):
            await self._database.write(self._end_lost)

    def _note(self, connection: Connection, far: list[tuple[Attended, Progress]]) -> None:
        for one, progress in far:
            db.note(connection, one.num, progress, sequence.now_ms())

    def _end_lost(self, connection: Connection) -> None:
        """Those of registries that are not heard of any more."""
        for operation in db.lost(connection, ATTENDED, _stale_ms()):
            what = "the registry that it ran in is gone"
            text = _sentence(operation.operation_id, operation.method, what, operation.progress, at_least="at least ")
            _end(connection, operation, Ending(AbortedError.__name__, "REGISTRY_GONE", text))
            log.warning("operation_lost", operation=operation.operation_id)

    def _save_later(self, one: Attended) -> "asyncio.Task[None]":
        one.is_saving = True
        task = asyncio.create_task(self._save(one), name=one.operation_id)
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)
        return task

    async def _save(self, one: Attended) -> None:
        try:
            is_ours = await self._database.write(self._end, one)
        except SQLAlchemyError as exc:
            log.warning("operation_waits", operation=one.operation_id, error=str(exc).strip()[:300])
            return
        finally:
            one.is_saving = False
        self._open.pop(one.num, None)
        if is_ours:
            _count(one)

    def _end(self, connection: Connection, one: Attended) -> bool:
        operation = db.find_operation(connection, one.operation_id)
        if operation is None or operation.is_done:
            return False
        db.note(connection, one.num, one.progress, sequence.now_ms())
        if one.ending is None:
            db.finish(connection, one.num, sequence.now_ms())
        else:
            _end(connection, operation, one.ending, one.progress)
        return True


def _end(connection: Connection, operation: Operation, ending: Ending, progress: Progress | None = None) -> None:
    progress = progress or operation.progress
    db.end(connection, operation.operation_num, ending, sequence.now_ms())
    told = {"processed": progress.processed, "total": progress.total}
    ended = Change(f"operations/{operation.operation_id}", None, told)
    append(connection, Origin(operation.actor, operation.method), [ended], ending.reason)


def _count(one: Attended) -> None:
    method, progress = one.method.rpartition("/")[2], one.progress
    for outcome in ("succeeded", "unchanged", "failed"):
        metrics.operation_items.labels(method, outcome).inc(getattr(progress, outcome))
    took_ms = max(0, sequence.now_ms() - one.create_time_ms)
    metrics.operation_seconds.labels(method, one.ending.reason if one.ending else "OK").observe(took_ms / 1000)


def _stale_ms() -> int:
    return sequence.now_ms() - int(LEASE_S * 1000)


def _sentence(operation_id: str, method: str, what: str, progress: Progress, at_least: str = "") -> str:
    noun = ATTENDED[method]
    if operation_id.startswith("dry-run-"):
        remedy = "nothing was changed, run it again"
    elif noun == "rows":
        remedy = "run it again: what is done stays done"
    else:
        remedy = "run it again, from the last device that came"
    return f"{what} after {at_least}{progress.processed:,} {noun}; {remedy}"
