"""Keeps the dimension tables in ClickHouse like the registry.

Changed rows are written in the order of their change, and the position moves after the insert: a crash in between
writes rows again, with the same version, which the tables collapse. While the store is away the registry goes on. Of
several registries one writes; should two for a moment, that collapses too.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import msgspec
import structlog
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError
from sqlalchemy.exc import SQLAlchemyError

from registry import metrics
from registry.db import catalogue, sequence
from registry.db import dimensions as db
from registry.db.engine import Database
from registry.devices.wards import wards
from registry.dimensions.tables import DEVICES, METRICS, REPORTED, SITES, TYPES, WARDS, Table
from runtime.settings import SettingsError
from store.client import INSERT_SETTINGS, open_client
from store.settings import StoreSettings

CHUNK_ROWS = 20_000
# How often the store is asked whether it still has what it got, when there is nothing to write, and when there is.
IDLE_CHECK_S = 15.0
BUSY_CHECK_S = 2.0
# Changes are gathered for so long before they are written, so that many small ones are one insert.
GATHER_S = 0.2
_BACKOFF_S = (0.5, 15.0)
# A wrong store.url is among them: it must be mended, but devices can be registered meanwhile.
_UNAVAILABLE = (ClickHouseError, aiohttp.ClientError, OSError, TimeoutError, SettingsError, SQLAlchemyError)
# Of the lock under which one registry at a time writes.
LOCK = 0x6366_6469_6D
_HELD = (
    "SELECT d.held, m.held, t.held, s.held, r.held, greatest(d.newest, m.newest, t.newest, s.newest, r.newest) FROM "
    "(SELECT uniqExact(device_num) AS held, max(version) AS newest FROM cityfleet.devices) AS d, "
    "(SELECT uniqExact(metric_num) AS held, max(version) AS newest FROM cityfleet.metrics) AS m, "
    "(SELECT uniqExact(type_num) AS held, max(version) AS newest FROM cityfleet.device_types) AS t, "
    "(SELECT uniqExact(site_num) AS held, max(version) AS newest FROM cityfleet.sites) AS s, "
    "(SELECT uniqExact(device_num) AS held, max(version) AS newest FROM cityfleet.device_reported) AS r"
)
log = structlog.get_logger()


class DimensionSync:
    """`problem` says why the copy is behind; empty when all is well."""

    def __init__(self, database: Database, store: StoreSettings, data_dir: Path) -> None:
        self._database = database
        self._store = store
        self._data_dir = data_dir
        self._position = 0
        self._even_at = time.monotonic()
        self.problem = "not connected to the store yet"
        metrics.dimension_lag_revisions.set_function(lambda: max(0, database.bell.revision - self._position))
        metrics.dimension_lag_seconds.set_function(self._lag_s)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._database.lead(LOCK, self._lead, self._look_on)

    async def _look_on(self) -> None:
        """Another registry writes: its problems are its own, but how far it has come is told by all."""
        self.problem = ""
        with contextlib.suppress(SQLAlchemyError):
            self._position = await self._database.read(db.position)
        if self._position >= self._database.bell.revision:
            self._even_at = time.monotonic()

    async def _lead(self) -> NoReturn:
        """Every failure of the store or the database is tried again with jittered backoff."""
        delay_s = _BACKOFF_S[0]
        while True:
            started = time.monotonic()
            try:
                client = await open_client(self._store, self._data_dir, "writer")
                try:
                    await self._follow(client)
                finally:
                    await client.close()
            except _UNAVAILABLE as exc:
                # While the client closes what it could not open it takes our end for its own failure.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from exc
                reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300]
                if self.problem != reason:
                    log.warning("dimensions_unavailable", reason=reason)
                self.problem = reason
                metrics.dimension_failures.inc()
            if time.monotonic() - started > _BACKOFF_S[1]:
                delay_s = _BACKOFF_S[0]
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _follow(self, client: AsyncClient) -> NoReturn:
        self._position = await self._database.read(db.position)
        await self._insert(client, WARDS, list(wards().values()))
        checked_at = -IDLE_CHECK_S
        while True:
            if time.monotonic() - checked_at > BUSY_CHECK_S:
                await self._check_store(client)
                checked_at = time.monotonic()
            await self._catch_up(client)
            if self.problem:
                log.info("dimensions_in_step", revision=self._position)
            self.problem = ""
            self._even_at = time.monotonic()
            if await self._database.bell.wait(self._position, IDLE_CHECK_S):
                await asyncio.sleep(GATHER_S)

    async def _check_store(self, client: AsyncClient) -> None:
        """Start from the beginning if the store has lost what it got, for instance with its folder.

        Rows are counted, because a newer version may have been written after the loss.
        """
        *held, newest = (await client.query(_HELD)).result_rows[0]
        expected = msgspec.structs.astuple(await self._database.read(db.expected, self._position))
        if any(has < wanted for has, wanted in zip(held, expected, strict=True)):
            log.warning("dimensions_lost", store_has=sum(held), expected=sum(expected))
            self._position = 0
            await self._insert(client, WARDS, list(wards().values()))
        if newest > self._database.bell.revision:
            # Its rows would hide ours, because the higher version wins.
            log.error("dimensions_of_another_registry", store_has=newest, registry_has=self._database.bell.revision)

    async def _catch_up(self, client: AsyncClient) -> None:
        """Write everything after the position up to what is the newest revision now.

        A type that changes meanwhile waits for the next time, or the position would pass it by.
        """
        head = (await self._database.read(sequence.head)).revision
        if head == self._position:
            return
        await self._insert(client, METRICS, await self._database.read(catalogue.metrics_since, self._position))
        types, numbers = await self._database.read(db.types_since, self._position)
        await self._insert(client, TYPES, [(kind, numbers) for kind in types])
        after = self._position
        while sites := await self._database.read(db.sites_between, after, head, CHUNK_ROWS):
            await self._insert(client, SITES, sites)
            after = sites[-1].revision
        await self._catch_up_reported(client, head)
        after = self._position
        while purged := await self._database.read(db.purged_between, after, head, CHUNK_ROWS):
            await self._insert(client, DEVICES, purged)
            after = purged[-1].revision
        last_num = 0
        while rows := await self._database.read(db.rows_of_changed_types, self._position, last_num, CHUNK_ROWS):
            await self._insert(client, DEVICES, rows)
            last_num = rows[-1].device_num
        while rows := await self._database.read(db.rows_between, self._position, head, CHUNK_ROWS):
            await self._insert(client, DEVICES, rows)
            await self._reach(rows[-1].revision if len(rows) == CHUNK_ROWS else head)
        await self._reach(head)

    async def _catch_up_reported(self, client: AsyncClient, head: int) -> None:
        after, last_num = self._position, 1 << 62
        while rows := await self._database.read(db.reported_between, after, head, last_num, CHUNK_ROWS):
            await self._insert(client, REPORTED, [row for _, row in rows])
            after, last_num = rows[-1][0], rows[-1][1].device_num
        told = after = self._position
        while rows := await self._database.read(db.reported_of_changed, after, head, CHUNK_ROWS, told):
            await self._insert(client, REPORTED, [row for _, row in rows])
            after = rows[-1][0]

    async def _reach(self, revision: int) -> None:
        if revision != self._position:
            await self._database.write(db.set_position, revision)
            self._position = revision

    async def _insert(self, client: AsyncClient, table: Table, rows: Sequence[Any]) -> None:
        if not rows:
            return
        await client.insert(
            table.name,
            await asyncio.to_thread(lambda: [table.row(row) for row in rows]),
            database="cityfleet",
            column_names=[name for name, _ in table.columns],
            column_type_names=[kind for _, kind in table.columns],
            settings=INSERT_SETTINGS,
        )
        metrics.dimension_rows.labels(table.name).inc(len(rows))

    def _lag_s(self) -> float:
        is_even = not self.problem and self._position >= self._database.bell.revision
        return 0.0 if is_even else time.monotonic() - self._even_at
