"""Which devices are no longer what they were, for whoever watches them: by revision, and by the passing of time."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select, tuple_, union, union_all

from registry.db.schema import device_state, device_types, devices
from registry.state.model import DEFAULT_INTERVAL_S, late_after_ms, silent_after_ms


class Change(msgspec.Struct, frozen=True, order=True):
    """Of one device; a device may have two with different revisions: itself and its state."""

    revision: int
    device_num: int


def changes_after(connection: Connection, after: Change, limit: int) -> list[Change]:
    """Devices or their states changed after `after`, in order. Many states may have one revision."""
    position = (after.revision, after.device_num)
    parts = [
        select(table.c.revision, table.c.device_num).where(tuple_(table.c.revision, table.c.device_num) > position)
        for table in (devices, device_state)
    ]
    rows = union_all(*parts).order_by("revision", "device_num").limit(limit)
    return [Change(*row) for row in connection.execute(rows)]


def fell_silent(connection: Connection, from_ms: int, to_ms: int, after_num: int, limit: int) -> list[int]:
    """Devices whose connectivity or health is another at `to_ms` than it was at `from_ms`, although nothing was
    written since; with numbers above `after_num`, in their order."""
    intervals = connection.execute(select(device_types.c.expected_interval_s).distinct()).scalars().all()
    parts = [part for interval_s in intervals for part in _passed(interval_s, from_ms, to_ms)]
    if not parts:
        return []
    found = union(*(part.where(devices.c.device_num > after_num) for part in parts)).subquery()
    query = select(found.c.device_num).order_by(found.c.device_num).limit(limit)
    return list(connection.execute(query).scalars())


def _passed(interval_s: int, from_ms: int, to_ms: int) -> list[Select[Any]]:
    """One range of an index for each limit of a type with that interval."""
    seen, reading = device_state.c.last_seen_ms, device_state.c.last_reading_ms
    late_ms = late_after_ms(interval_s or DEFAULT_INTERVAL_S)
    base = (
        select(devices.c.device_num)
        .join(device_state, device_state.c.device_num == devices.c.device_num)
        .join(device_types, device_types.c.type_num == devices.c.type_num)
        .where(device_types.c.expected_interval_s == interval_s)
    )
    unheard = (seen >= from_ms - late_ms, seen < to_ms - late_ms, device_state.c.is_connected.is_(False))
    limits = (late_ms, silent_after_ms(interval_s)) if interval_s else ()
    return [
        base.where(*unheard),
        *(base.where(reading >= from_ms - limit_ms, reading < to_ms - limit_ms) for limit_ms in limits),
    ]
