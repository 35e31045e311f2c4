"""Compare before sending again: whether the store has a segment's readings although nobody said so."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from ext.clickhouse.presence import Presence
from ingest.write.native_rows import NativeRows

log = structlog.get_logger()

# Parts are as old as their last merge; clocks of two machines may differ by so much, else a row is taken for missing.
_CLOCKS_DIFFER_S = 3_600
_PARTS_MAX = 2_000


class Asked(Protocol):
    async def ask(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]: ...
    def stream(
        self, sql: str, parameters: dict[str, Any], fmt: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


async def is_there(store: Asked, body: bytes) -> bool:
    """Whether every reading of an insert into `readings` is in the store, or a later copy of it.

    Only parts that were made since the segment's first arrival are looked at; their rows come in the table's order, so
    that neither side holds more than a block of them.
    Raises: UnavailableError; ValueError if the body is not one block as SeriesOrder makes it.
    """
    presence = Presence(NativeRows(body).fixed_columns())
    (first_device, last_device), (first_ms, last_ms), arrived_ms = presence.ranges()
    parts = await store.ask(
        "SELECT name FROM system.parts WHERE database = 'cityfleet' AND table = 'readings' AND active"
        " AND modification_time >= {since:Int64} LIMIT {most:UInt32}",
        {"since": max(0, arrived_ms // 1000 - _CLOCKS_DIFFER_S), "most": _PARTS_MAX},
    )
    names = [str(name) for (name,) in parts]
    if not names:
        return False
    query = (
        "SELECT device_num, metric_num, ts, received_at, value, quality, quality_reasons FROM cityfleet.readings"
        " WHERE device_num BETWEEN {first_device:UInt32} AND {last_device:UInt32}"
        " AND ts BETWEEN fromUnixTimestamp64Milli({first_ms:Int64}, 'UTC')"
        " AND fromUnixTimestamp64Milli({last_ms:Int64}, 'UTC')"
        " AND received_at >= fromUnixTimestamp64Milli({arrived_ms:Int64}, 'UTC')"
        " AND ({is_all:Bool} OR _part IN {parts:Array(String)})"
        " ORDER BY device_num, metric_num, ts SETTINGS optimize_read_in_order = 1, max_threads = 2, final = 0"
    )
    values: dict[str, Any] = {
        "first_device": first_device,
        "last_device": last_device,
        "first_ms": first_ms,
        "last_ms": last_ms,
        "arrived_ms": arrived_ms,
        "is_all": len(names) == _PARTS_MAX,
        "parts": names,
    }
    async with store.stream(query, values, "RowBinary") as pieces:
        async for piece in pieces:
            if not presence.feed(piece):
                return False
    return presence.is_whole()
