"""The write stage: one closed segment after the other, each retried until ClickHouse has it, then deleted."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from ingest.errors import DamagedSegmentError, PoisonError, UnavailableError
from ingest.metrics import WRITE_INSERT_SECONDS, WriteState
from ingest.model import Segment
from ingest.settings import WriteSettings
from ingest.write.breaker import Breaker
from ingest.write.compare import is_there
from ingest.write.delivery import Bodies, Delivery, Store
from ingest.write.hunt import NothingTakenError
from ingest.write.metrics import COMPARED, HELD
from ingest.write.watch import StoreWatch
from runtime.pipe import Pipe
from runtime.threads import named_pool

log = structlog.get_logger()

# Raises ValueError if the file was damaged since it was closed, OSError.
ReadBodies = Callable[[Segment], Bodies]

# Segments of which the store took nothing are kept in memory while others tell whether it is them or the store.
_HELD_MAX = 2
_LONGEST_REST_S = 60.0
# A disk that cannot be read is tried so often; then the segment is set aside for a person.
_READS = 3


class WriteStage:
    """`run` is the stage; `problems` says what a person should know."""

    def __init__(self, store: Store, read: ReadBodies, state: WriteState, settings: WriteSettings) -> None:
        self._store = store
        self._read_bodies = read
        self._state = state
        self._settings = settings
        self._breaker = Breaker(settings)
        self._watch = StoreWatch(store, settings)
        self._unconfirmed: set[str] = set()
        self._taken: dict[str, int] = {}
        self._held: list[Delivery] = []

    def expect(self, recovered: Iterable[Segment]) -> None:
        """Segments that a process before this one may have inserted, in the order in which they will come."""
        self._unconfirmed.update(segment.name for segment in recovered)

    def problems(self) -> dict[str, str]:
        found = {}
        if not self._breaker.is_closed:
            found["store"] = self._breaker.reason
        if self._held:
            found["store_refuses"] = f"all rows of {len(self._held)} segments: {self._state.unavailable}"
        return found | self._watch.problems()

    @property
    def is_slowed(self) -> bool:
        """The store has too many parts: fewer and larger segments are wanted."""
        return self._watch.is_slowed

    async def run(self, closed: Pipe[Segment]) -> None:
        """Until `closed` is closed and empty. May be cancelled at any await: what is not deleted is written again.

        While one segment is inserted the next one is read; `read` is never called twice at once.
        """
        ready: Pipe[tuple[Segment, Bodies]] = Pipe(1)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch.run(), name="watch_store")
            tasks.create_task(self._read(closed, ready), name="read_segments")
            await tasks.create_task(self._write_all(ready), name="write_segments")
            watch.cancel()

    async def _read(self, closed: Pipe[Segment], ready: Pipe[tuple[Segment, Bodies]]) -> None:
        loop = asyncio.get_running_loop()
        with named_pool("segments") as thread:
            async for segment in closed:
                self._state.took(segment)
                await ready.wait_writable()
                for left in reversed(range(_READS)):
                    try:
                        bodies = await loop.run_in_executor(thread, self._read_bodies, segment)
                    except DamagedSegmentError as exc:
                        log.error("segment_damaged", segment=segment.name, reason=str(exc))
                        self._state.lost_part(segment, exc.remaining)
                        await ready.put((exc.remaining, exc.bodies))
                    except (ValueError, OSError) as exc:
                        if isinstance(exc, OSError) and left:
                            log.error("segment_not_read", segment=segment.name, reason=str(exc))
                            await asyncio.sleep(self._settings.retry_longest_s)
                            continue
                        await self._set_aside(segment, PoisonError(str(exc), 0))
                    else:
                        await ready.put((segment, bodies))
                    break
        ready.close()

    async def _write_all(self, ready: Pipe[tuple[Segment, Bodies]]) -> None:
        while True:
            try:
                # Held segments are tried again also if nothing else comes.
                async with asyncio.timeout(self._settings.retry_longest_s if self._held else None):
                    found = await ready.get()
            except TimeoutError:
                pass
            else:
                if found is None:
                    return
                segment, bodies = found
                await self._write(Delivery(segment, bodies, is_unconfirmed=segment.name in self._unconfirmed))
            for delivery in tuple(self._held):
                await self._write(delivery)

    async def _write(self, delivery: Delivery) -> None:
        """Until the store has it, it is set aside, or it is held."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            await self._watch.wait()
            begun = loop.time()
            await self._breaker.wait(lambda: self._probe(delivery))
            try:
                await delivery.run(self._store, self._taken, self._is_there)
            except UnavailableError as exc:
                self._failed(str(exc))
            except NothingTakenError as exc:
                self._state.unavailable = exc.reason
                if self._hold(delivery):
                    return
                self._failed(exc.reason)
                # The rounds of a hunt grow; a store that refuses everything is not to be kept busy with that.
                await asyncio.sleep(min(loop.time() - begun, _LONGEST_REST_S))
            except PoisonError as exc:
                self._release(delivery)
                await self._set_aside(delivery.segment, exc)
                return
            else:
                break
        self._breaker.succeeded()
        self._release(delivery)
        self._unconfirmed.discard(delivery.segment.name)
        self._state.unavailable = ""
        WRITE_INSERT_SECONDS.observe(loop.time() - started)
        try:
            await asyncio.to_thread(delivery.segment.remove)
        except OSError as exc:  # the next start sends it again, under its token
            log.error("segment_not_removed", segment=delivery.segment.name, reason=str(exc))
        self._state.written(delivery.segment, delivery.refused)

    def _failed(self, reason: str) -> None:
        self._state.retries += 1
        self._state.unavailable = reason
        self._breaker.failed(reason)

    async def _probe(self, delivery: Delivery) -> None:
        """A sign of life. A store that was started since the first attempt may have lost the tokens it knew."""
        started_s = await self._store.started_s()
        if delivery.first_attempt_s is not None and started_s >= delivery.first_attempt_s:
            delivery.is_unconfirmed = True

    async def _is_there(self, body: bytes) -> bool:
        try:
            found = await is_there(self._store, body)
        except (ValueError, KeyError):  # of an older version: sent again as it is
            return False
        COMPARED.labels("there" if found else "missing").inc()
        if not found:
            # Segments go in one after the other: what comes behind one that is not there was never sent.
            self._unconfirmed.clear()
        log.info("segment_compared", is_there=found)
        return found

    def _hold(self, delivery: Delivery) -> bool:
        """Put it by and go on with others, if there is room."""
        if delivery in self._held:
            return True
        if len(self._held) >= _HELD_MAX:
            return False
        self._held.append(delivery)
        HELD.set(len(self._held))
        log.error(
            "write_segment_held", segment=delivery.segment.name, table=delivery.table, reason=self._state.unavailable
        )
        return True

    def _release(self, delivery: Delivery) -> None:
        if delivery in self._held:
            self._held.remove(delivery)
            HELD.set(len(self._held))

    async def _set_aside(self, segment: Segment, exc: PoisonError) -> None:
        """Keep the file beside the spool for a person; it must not stop what comes behind it."""
        path = segment.path
        try:
            path = await asyncio.to_thread(segment.set_aside)
        except OSError as error:
            log.error("segment_not_moved", segment=segment.name, reason=str(error))
        self._state.set_aside(segment)
        log.error("write_segment_set_aside", segment=segment.name, code=exc.code, path=str(path), reason=str(exc))
