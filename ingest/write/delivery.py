"""One segment on its way into the store: which of its bodies are still to be taken, and what was refused of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from ext.clickhouse.series_order import SeriesOrder
from ingest.errors import PoisonError, RefusedError
from ingest.model import TABLES, Segment
from ingest.write.hunt import Hunt
from ingest.write.metrics import HUNTS, ROWS_REFUSED
from ingest.write.refused import COLUMNS, quarantine_rows

log = structlog.get_logger()

# A comparison that the store does not live through must not keep the segment out for ever: identities collapse anyway.
_COMPARISONS = 3

# Tables and their insert bodies.
Bodies = list[tuple[str, bytes]]


class Store(Protocol):
    """Where segments go. Every method raises UnavailableError while the store is away."""

    async def insert(self, table: str, body: bytes, token: str) -> None:
        """Insert Native blocks under a deduplication token. Raises RefusedError for what is in them."""

    async def insert_rows(
        self, table: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], token: str
    ) -> None:
        """Insert a few rows. Raises RefusedError."""

    async def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]: ...

    def stream(
        self, sql: str, parameters: dict[str, Any], fmt: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The answer's bytes as they come."""

    async def started_s(self) -> float:
        """When the store was started, by `time.monotonic()`, at the latest."""


# Whether all rows of a body of `readings` are in the store.
IsThere = Callable[[bytes], Awaitable[bool]]


class Delivery:
    """May be broken off at any await and run again: what is known is kept, what is sent again has the same token."""

    def __init__(self, segment: Segment, bodies: Bodies, *, is_unconfirmed: bool = False) -> None:
        """Args: is_unconfirmed: it may have been inserted before, and the store may have forgotten the token."""
        self.segment = segment
        self.is_unconfirmed = is_unconfirmed
        self.first_attempt_s: float | None = None
        # Readings by table that are in quarantine instead.
        self.refused = [0] * len(TABLES)
        self._todo = list(bodies)
        self._hunt: Hunt | None = None
        self._taken_before: dict[str, int] = {}
        self._comparisons = 0

    @property
    def table(self) -> str:
        """That is next."""
        return self._todo[0][0]

    async def run(self, store: Store, taken: dict[str, int], is_there: IsThere) -> None:
        """Until the store has all of it, or it is in quarantine.

        Args:
            taken: how many inserts of each table the store took, of all segments; counted on.
        Raises: UnavailableError; NothingTakenError (see `Hunt`); PoisonError if nobody takes it.
        """
        if self.first_attempt_s is None:
            self.first_attempt_s = time.monotonic()

        while self._todo:
            table, body = self._todo[0]

            async def insert(part: bytes, token: str, table: str = table) -> None:
                await store.insert(table, part, token)
                taken[table] = taken.get(table, 0) + 1

            if self._hunt is None:
                if table == "readings" and self.is_unconfirmed and self._comparisons < _COMPARISONS:
                    self._comparisons += 1
                    if await is_there(body):
                        self._todo.pop(0)
                        continue
                    # What is sent from here on has its token in the store that runs now.
                    self.is_unconfirmed, self.first_attempt_s = False, time.monotonic()
                    self._comparisons = 0
                try:
                    await insert(body, self._token)
                except RefusedError as exc:
                    log.warning("write_refused", segment=self.segment.name, table=table, code=exc.code, reason=str(exc))
                    HUNTS.labels(table).inc()
                    self._hunt = await self._begin_hunt(body)
                else:
                    self._todo.pop(0)
                    continue
            before = self._taken_before.setdefault(table, taken.get(table, 0))
            await self._hunt.run(insert, is_store_fine=taken.get(table, 0) > before)
            await self._give_up_rows(store, table, self._hunt)
            self._todo.pop(0)
            if self._hunt.refused and table == "readings" and self._todo and self._todo[0][0] == "latest":
                self._todo[0] = ("latest", await asyncio.to_thread(_latest_of, self._hunt.taken()))
                if not self._todo[0][1]:
                    self._todo.pop(0)
            self._hunt = None

    @property
    def _token(self) -> str:
        return f"{self.segment.name}-{self.table}"

    async def _begin_hunt(self, body: bytes) -> Hunt:
        try:
            return await asyncio.to_thread(Hunt, body, self._token)
        except ValueError as exc:
            raise PoisonError(str(exc), 0) from exc

    async def _give_up_rows(self, store: Store, table: str, hunt: Hunt) -> None:
        """What was refused to quarantine; of `latest` it is a copy."""
        refused = hunt.refused
        if not refused:
            return
        if table != "latest":
            devices = await self._devices(store, hunt)
            for rows, token in quarantine_rows(self.segment.name, table, hunt.rows, refused, devices):
                try:
                    await store.insert_rows("quarantine", COLUMNS, rows, token)
                except RefusedError as exc:
                    raise PoisonError(f"quarantine refuses rows that {table} refused: {exc}", exc.code) from exc
            if table != "quarantine":
                self.refused[TABLES.index(table)] = len(refused)
        ROWS_REFUSED.labels(table).inc(len(refused))
        first = next(iter(refused))
        log.error(
            "write_rows_refused", segment=self.segment.name, table=table, rows=len(refused), reason=refused[first]
        )

    async def _devices(self, store: Store, hunt: Hunt) -> dict[int, str]:
        """Names of the refused rows' devices, as far as the store knows them: a person looks for these."""
        numbers = {hunt.rows.row(number).get("device_num") for number in hunt.refused} - {None}
        if not numbers:
            return {}
        found = await store.ask(
            "SELECT device_num, device_id FROM cityfleet.devices FINAL WHERE device_num IN {numbers:Array(UInt32)}",
            {"numbers": sorted(number for number in numbers if isinstance(number, int))},
        )
        return {int(number): str(name) for number, name in found}


def _latest_of(blocks: list[bytes]) -> bytes:
    """The newest row of each series of the rows that are left; empty if these are of an older version."""
    try:
        return SeriesOrder().sort(blocks)[1]
    except ValueError:
        return b""
