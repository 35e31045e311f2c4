"""A look at the store every few seconds: whether it has too many parts, and whether a repeated insert would be told."""

import asyncio
import re
from typing import Any, Protocol

import structlog

from ingest.errors import UnavailableError
from ingest.settings import WriteSettings
from ingest.write.metrics import PARTS, PAUSED, WITHOUT_WINDOW

log = structlog.get_logger()

# What ingest inserts into itself; views may carry rows on.
INSERTED = ("cityfleet.readings", "cityfleet.latest", "cityfleet.readings_text", "cityfleet.quarantine")
_WINDOW = re.compile(r"\b((?:non_)?replicated_deduplication_window) = (\d+)")
_TARGET = re.compile(r" TO (`?[\w.-]+`?\.`?[\w.-]+`?)")
# They keep every row that comes; other engines that are no MergeTree keep none themselves.
_PLAIN = frozenset({"Memory", "Log", "TinyLog", "StripeLog", "EmbeddedRocksDB"})


class Asked(Protocol):
    async def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]: ...


class StoreWatch:
    """`run` looks, `wait` holds an insert back, `problems` tells people."""

    def __init__(self, store: Asked, settings: WriteSettings) -> None:
        self._store = store
        self._settings = settings
        self._looked = asyncio.Event()
        self._without: list[str] = []
        self.parts = 0

    @property
    def is_slowed(self) -> bool:
        return self.parts > self._settings.parts_slow

    def problems(self) -> dict[str, str]:
        found = {}
        if self.is_slowed:
            what = "stopped" if self.parts >= self._settings.parts_stop else "slowed down"
            found["store_parts"] = f"{self.parts} parts in one partition: inserts are {what}"
        if self._without:
            found["store_windows"] = f"a repeated insert is stored twice in {', '.join(self._without)}"
        return found

    async def run(self) -> None:
        """For ever. A store that does not answer, or does not let us ask, changes nothing."""
        loop = asyncio.get_running_loop()
        windows_at = loop.time()
        while True:
            try:
                await self._look_at_parts()
                if loop.time() >= windows_at:
                    await self._look_at_windows()
                    windows_at = loop.time() + self._settings.windows_check_s
            except UnavailableError as exc:
                log.debug("store_not_looked_at", reason=str(exc))
            await asyncio.sleep(self._settings.parts_check_s)

    async def wait(self) -> None:
        """Before an insert: the more parts, the longer; until there are fewer again, if it is far too many."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        began = loop.time()
        if self.is_slowed:
            part = min(1.0, (self.parts - settings.parts_slow) / (settings.parts_stop - settings.parts_slow))
            await asyncio.sleep(settings.parts_pause_s * part)
        while self.parts >= settings.parts_stop:
            self._looked.clear()
            await self._looked.wait()
        if loop.time() > began:
            PAUSED.inc(loop.time() - began)

    async def _look_at_parts(self) -> None:
        rows = await self._store.ask(
            "SELECT count() AS parts FROM system.parts WHERE database = 'cityfleet' AND active"
            " GROUP BY table, partition_id ORDER BY parts DESC LIMIT 1"
        )
        self.parts = int(rows[0][0]) if rows else 0
        PARTS.set(self.parts)
        self._looked.set()

    async def _look_at_windows(self) -> None:
        without = await tables_without_window(self._store)
        if without and without != self._without:
            log.error("deduplication_window_missing", tables=without)
        self._without = without
        WITHOUT_WINDOW.set(len(without))


async def tables_without_window(store: Asked) -> list[str]:
    """Tables that inserts of ours reach, also through views, and in which a repeated insert would be stored twice.

    Raises: UnavailableError.
    """
    defaults = {
        str(name): int(value)
        for name, value in await store.ask(
            "SELECT name, value FROM system.merge_tree_settings WHERE name = 'non_replicated_deduplication_window'"
            " UNION ALL SELECT name, value FROM system.replicated_merge_tree_settings"
            " WHERE name = 'replicated_deduplication_window'"
        )
    }
    rows = await store.ask(
        "SELECT concat(database, '.', name), toString(uuid), database, engine, engine_full, create_table_query,"
        " arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table)"
        " FROM system.tables WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')"
    )
    tables = {str(row[0]): row[1:] for row in rows}
    reached: dict[str, None] = {}
    todo = list(INSERTED)
    while todo:
        name = todo.pop()
        if name in reached or name not in tables:
            continue
        reached[name] = None
        uuid, database, engine, _, created, views = tables[name]
        if engine == "MaterializedView":
            target = _TARGET.search(str(created))
            todo.append(target[1].replace("`", "") if target else f"{database}..inner_id.{uuid}")
        todo += map(str, views)
    return sorted(name for name in reached if not _has_window(str(tables[name][2]), str(tables[name][3]), defaults))


def _has_window(engine: str, full: str, defaults: dict[str, int]) -> bool:
    if not engine.endswith("MergeTree"):
        return engine not in _PLAIN
    wanted = "replicated_deduplication_window"
    if not engine.startswith("Replicated"):
        wanted = f"non_{wanted}"
    own = {name: int(value) for name, value in _WINDOW.findall(full)}
    return own.get(wanted, defaults.get(wanted, 0)) > 0
