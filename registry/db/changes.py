"""Which devices are no longer what they were, for whoever watches them: by revision, and by the passing of time; and
which of them match."""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, select, tuple_, union, union_all

from registry.db.device_list import View
from registry.db.schema import device_state, device_types, devices, groups, purged_devices
from registry.filter.condition import Condition
from registry.state.model import DEFAULT_INTERVAL_S, late_after_ms, silent_after_ms

# Behind every number.
LAST_NUM = (1 << 63) - 1


class Change(msgspec.Struct, frozen=True, order=True):
    """Of one device; a device may have two with different revisions: itself and its state."""

    revision: int
    device_num: int


def changes_after(connection: Connection, after: Change, limit: int) -> list[Change]:
    """Devices changed or purged, or their states changed, after `after`, in order. States may share a revision."""
    parts = []
    for table in (devices, device_state, purged_devices):
        key = (table.c.revision, table.c.device_num)
        # The plain condition is for the index, which has only the revision.
        behind = (key[0] >= after.revision, tuple_(*key) > (after.revision, after.device_num))
        parts.append(select(*key).where(*behind).order_by(*key).limit(limit).subquery().select())
    rows = union_all(*parts).order_by("revision", "device_num").limit(limit)
    return [Change(*row) for row in connection.execute(rows)]


def types_after(connection: Connection, revision: int) -> list[int]:
    """Types of which something that is shown of their devices has changed after `revision`."""
    query = select(device_types.c.type_num).where(device_types.c.dimension_revision > revision)
    return list(connection.execute(query).scalars())


def devices_of_types(connection: Connection, type_nums: Collection[int], after_num: int, limit: int) -> list[int]:
    """Numbers above `after_num`, in order."""
    query = select(devices.c.device_num).where(devices.c.type_num.in_(type_nums), devices.c.device_num > after_num)
    return list(connection.execute(query.order_by(devices.c.device_num).limit(limit)).scalars())


def matching(connection: Connection, condition: Condition, nums: Collection[int], now_ms: int) -> set[int]:
    """Which of the devices match. At most some thousands at once."""
    query = View(connection, now_ms).select([devices.c.device_num], condition)
    return set(connection.execute(query.where(devices.c.device_num.in_(nums))).scalars())


def matching_after(connection: Connection, condition: Condition, after_num: int, limit: int, now_ms: int) -> list[int]:
    """Numbers above `after_num` of devices that match, in order."""
    query = View(connection, now_ms).select([devices.c.device_num], condition)
    behind = query.where(devices.c.device_num > after_num).order_by(devices.c.device_num)
    return list(connection.execute(behind.limit(limit)).scalars())


def device_ids(connection: Connection, nums: Collection[int]) -> list[str]:
    """Also of those that were purged."""
    parts = [select(table.c.device_id).where(table.c.device_num.in_(nums)) for table in (devices, purged_devices)]
    return list(connection.execute(union_all(*parts)).scalars())


def group_revisions(connection: Connection, group_ids: Iterable[str]) -> dict[str, int]:
    """They grow when a device joins or leaves."""
    query = select(groups.c.group_id, groups.c.revision).where(groups.c.group_id.in_(list(group_ids)))
    return {row.group_id: row.revision for row in connection.execute(query)}


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
