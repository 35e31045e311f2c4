"""cityfleet.quarantine within its limits: what is too old or too much is dropped, the oldest first, and counted.

Rows go by whole parts: dropping one is instant, however large it is, and its readings are counted before. So that the
steps are small, no part is merged to more than a sixteenth of the limit.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog
from clickhouse_connect.driver.asyncclient import AsyncClient
from prometheus_client import Counter, Gauge

from store.client import open_client
from store.settings import QuarantineSettings, StoreSettings

log = structlog.get_logger()

SIZE_BYTES = Gauge("cityfleet_store_quarantine_bytes", "Bytes on disk of the quarantine.")
PAYLOADS = Gauge("cityfleet_store_quarantine_payloads", "Payloads in quarantine.")
DROPPED_PAYLOADS = Counter(
    "cityfleet_store_quarantine_dropped_payloads",
    "Payloads dropped from quarantine: too many bytes, or too old.",
    ["cause"],
)
DROPPED_READINGS = Counter(
    "cityfleet_store_quarantine_dropped_readings",
    "Readings that the payloads dropped from quarantine stood for.",
    ["cause"],
)
_EVERY_S = 2.0
# What is too old is looked for less often: it means reading a column of the table.
_AGE_EVERY_S = 600.0
_STEPS = 16
_SMALLEST_STEP_BYTES = 1 << 20
_DAY_MS = 86_400_000
_MERGED_TO = re.compile(r"max_bytes_to_merge_at_max_space_in_pool = (\d+)")
_DEFINITION = "SELECT create_table_query FROM system.tables WHERE database = 'cityfleet' AND name = 'quarantine'"
_SIZES = (
    "SELECT name, bytes_on_disk, rows FROM system.parts "
    "WHERE active AND database = 'cityfleet' AND table = 'quarantine'"
)
_PARTS = (
    "SELECT _part, toUnixTimestamp64Milli(max(received_at)) AS last, count(), sum(readings) "
    "FROM cityfleet.quarantine GROUP BY _part ORDER BY last, _part"
)

# Runs a statement as who may do everything; its answer as tab-separated text.
Ask = Callable[[str], Awaitable[str]]


class Part(msgspec.Struct, frozen=True):
    """One part of the table. Times are of arrival, milliseconds since 1970 UTC."""

    name: str
    size_bytes: int
    last_ms: int
    payloads: int
    readings: int


class QuarantineLimit:
    """Call `enforce` again and again; it costs a look at the list of parts while there is nothing to do.

    Args:
        state: of the table's parts; while it is the same there is nothing to look at, None is never the same.
    """

    def __init__(
        self,
        ask: Ask,
        settings: QuarantineSettings,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        state: Callable[[], tuple[int, ...] | None] = lambda: None,
    ) -> None:
        self._ask = ask
        self._settings = settings
        self._clock_ms = clock_ms
        self._state = state
        self._seen: tuple[int, ...] | None = None
        self._aged_at_s = float("-inf")
        self._is_prepared = False

    async def enforce(self) -> int:
        """Drop what has to go; returns how many payloads did. Raises what `ask` does."""
        if not self._is_prepared:
            await self._bound_parts()
            self._is_prepared = True
        is_age_due = self._settings.max_age_days > 0 and time.monotonic() - self._aged_at_s >= _AGE_EVERY_S
        state = self._state()
        if state is not None and state == self._seen and not is_age_due:
            return 0
        self._seen = None
        sizes = await self._sizes()
        total = sum(sizes.values())
        if total <= self._settings.max_bytes and not is_age_due:
            self._seen = state
            return 0
        parts = await self._parts(sizes)
        oldest_ms = self._clock_ms() - round(self._settings.max_age_days * _DAY_MS)
        dropped = 0
        if is_age_due:
            for part in [one for one in parts if one.last_ms < oldest_ms]:
                if await self._drop(part, "age"):
                    parts.remove(part)
                    total -= part.size_bytes
                    dropped += part.payloads
            self._aged_at_s = time.monotonic()
        # The newest stays, be it larger than the limit: what came in last is what a person looks for first.
        for part in parts[:-1]:
            if total <= self._settings.max_bytes:
                break
            if await self._drop(part, "bytes"):
                total -= part.size_bytes
                dropped += part.payloads
        SIZE_BYTES.set(total)
        return dropped

    async def _bound_parts(self) -> None:
        """Have parts merged to a fraction of the limit only."""
        wanted = max(self._settings.max_bytes // _STEPS, _SMALLEST_STEP_BYTES)
        definition = await self._ask(_DEFINITION)
        found = _MERGED_TO.search(definition)
        if found is None or int(found[1]) != wanted:
            setting = f"max_bytes_to_merge_at_max_space_in_pool = {wanted}"
            await self._ask(f"ALTER TABLE cityfleet.quarantine MODIFY SETTING {setting}")

    async def _sizes(self) -> dict[str, int]:
        answer = await self._ask(_SIZES)
        rows = [line.split("\t") for line in answer.splitlines()]
        SIZE_BYTES.set(sum(int(size) for _, size, _ in rows))
        PAYLOADS.set(sum(int(count) for _, _, count in rows))
        return {name: int(size) for name, size, _ in rows}

    async def _parts(self, sizes: dict[str, int]) -> list[Part]:
        """Those of which the size is known, the oldest first."""
        rows = [line.split("\t") for line in (await self._ask(_PARTS)).splitlines()]
        # Where a replay has taken out all rows, nothing is left but bytes: these go first.
        empty = sizes.keys() - {row[0] for row in rows}
        return [Part(name, sizes[name], 0, 0, 0) for name in sorted(empty)] + [
            Part(name, sizes[name], int(last), int(payloads), int(readings))
            for name, last, payloads, readings in rows
            if name in sizes
        ]

    async def _drop(self, part: Part, cause: str) -> bool:
        """False if it is no more: a merge, or another who looks after the table, was faster."""
        try:
            await self._ask(f"ALTER TABLE cityfleet.quarantine DROP PART '{part.name}'")
        except Exception:
            if part.name in await self._sizes():
                raise
            return False
        DROPPED_PAYLOADS.labels(cause).inc(part.payloads)
        DROPPED_READINGS.labels(cause).inc(part.readings)
        log.warning(
            "quarantine_dropped", cause=cause, payloads=part.payloads, readings=part.readings, bytes=part.size_bytes
        )
        return True


async def keep_within_limits(limit: QuarantineLimit) -> None:
    """Until cancelled. A store that is away, or refuses, is asked again."""
    said = ""
    while True:
        try:
            await limit.enforce()
            said = ""
        except Exception as exc:
            reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            if reason != said:
                log.warning("quarantine_limit_failed", reason=reason)
                said = reason
        await asyncio.sleep(_EVERY_S)


async def keep_server_within_limits(settings: StoreSettings, data_dir: Path) -> None:
    """The same for a ClickHouse server, which has no store role of ours beside it: as the admin account.

    Several may do so at once: a part that one has dropped is no more for the others, and counted once.
    """
    async with AsyncExitStack() as opened:
        client: AsyncClient | None = None

        async def ask(sql: str) -> str:
            nonlocal client
            if client is None:
                client = await open_client(settings, data_dir, "admin")
                opened.push_async_callback(client.close)
            answer = await client.raw_query(sql, fmt="TabSeparated")
            assert isinstance(answer, bytes)
            return answer.decode().rstrip("\n")

        await keep_within_limits(QuarantineLimit(ask, settings.quarantine))
