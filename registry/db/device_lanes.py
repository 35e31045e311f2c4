"""Devices read off an index in its order: a stretch at a time, so that a search can stop anywhere and go on there."""

from typing import Any, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Subquery, select

from registry.db.conditions import Clause, by_code_point
from registry.db.device_sources import Source
from registry.db.keyset import SortKey, behind
from registry.db.schema import device_labels, device_state, device_types, devices, sites
from registry.filter.condition import Condition, Relation, Test
from registry.filter.fields import Type
from registry.filter.order import OrderKey

Key: TypeAlias = tuple[int | str, ...]

_DEVICE_COLUMNS: dict[str, ColumnElement[Any]] = {
    "device_id": devices.c.device_id,
    "display_name": devices.c.display_name,
    "ward_code": devices.c.ward_code,
    "create_time": devices.c.create_time_ms,
    "update_time": devices.c.update_time_ms,
}
_STATE_TIMES: dict[str, ColumnElement[Any]] = {
    "reported.last_seen_time": device_state.c.last_seen_ms,
    "reported.last_reading_time": device_state.c.last_reading_ms,
}
# By what a list can be ordered first, however long it is.
WALKABLE = (
    "device_num",
    *_DEVICE_COLUMNS,
    "external_id",
    "device_type",
    "site_id",
    "state",
    "connectivity",
    "health",
    "labels.KEY",
    "reported.firmware_version",
    *_STATE_TIMES,
)


class Walk:
    """An index whose last column is the number of a device. Its rows have keys of one value for each of `columns`."""

    def __init__(
        self,
        connection: Connection,
        columns: list[ColumnElement[Any]],
        base: Select[Any],
        *,
        descending: bool,
    ) -> None:
        """Args: base: what to read, without columns of its own to order by."""
        self._connection = connection
        self._keys = [SortKey(column, descending) for column in columns]
        self._base = base

    def stretch(self, after: Key | None, size: int) -> tuple[Subquery, list[SortKey]]:
        """`size` rows behind `after`, with `device_num`; and their keys, in whose order they are."""
        names = [f"key_{at}" for at in range(len(self._keys) - 1)] + ["device_num"]
        columns = [key.column.label(name) for key, name in zip(self._keys, names, strict=True)]
        rows = self._rows(columns, after).limit(size).subquery("stretch")
        return rows, [SortKey(rows.c[name], key.descending) for key, name in zip(self._keys, names, strict=True)]

    def end(self, after: Key | None, size: int) -> Key | None:
        """The key of the last of `size` rows behind `after`; None: there are not so many."""
        last = self._rows([key.column for key in self._keys], after).limit(1).offset(size - 1)
        row = self._connection.execute(last).first()
        return None if row is None else tuple(row)

    def _rows(self, columns: list[Any], after: Key | None) -> Select[Any]:
        rows = self._base.with_only_columns(*columns)
        if after is not None:
            rows = rows.where(behind(self._keys, after))
        return rows.order_by(*(key.ordered() for key in self._keys))


class Lane(msgspec.Struct, frozen=True):
    """The values of a field in their order, and the index that has devices in it.

    Attributes:
        values: column of the values; None: those of an ENUM.
        base: what they are in.
        number: the number of the device beside the value; None: they are in a table of their own, without devices.
        owned: of such a table: its own number, and the column of devices that has it; None: each value has very many.
        absent: the condition of devices that have no value; None: all have one.
        absent_value: what they have in a key; below all others.
    """

    values: ColumnElement[Any] | None
    base: Select[Any] | None = None
    number: ColumnElement[Any] | None = None
    owned: tuple[ColumnElement[Any], ColumnElement[Any]] | None = None
    absent: Condition | None = None
    absent_value: int | str = ""


def source_walk(connection: Connection, source: Source, *, descending: bool, limit: int) -> Walk:
    """Args: limit: of an unordered source no more are looked at."""
    if source.is_ordered:
        return Walk(connection, [source.number], source.query, descending=descending)
    # With a limit it is read by its own index, and sorted; without, some read all devices in order and sieve.
    few = source.few(limit)
    return Walk(connection, [few.c.device_num], select(few.c.device_num), descending=descending)


def lane_walk(connection: Connection, lane: Lane, *, descending: bool) -> Walk:
    """Args: lane: one with a `number`."""
    assert lane.values is not None
    assert lane.base is not None
    assert lane.number is not None
    return Walk(connection, [lane.values, lane.number], lane.base, descending=descending)


def lane_of(key: OrderKey, dialect: str) -> Lane | None:
    """None: there is no index in the order of that field."""
    field, name = key.field, key.field.name
    missing = Test(field, key.key, Relation.PRESENT, "", negated=True)
    if field.type is Type.ENUM:
        return Lane(None)
    if name == "labels":
        value = by_code_point(device_labels.c.value, dialect)
        # An empty value counts as none.
        base = select().where(device_labels.c.key == key.key, device_labels.c.value != "")
        none = Test(field, key.key, Relation.GREATER, "", negated=True)
        return Lane(value, base, device_labels.c.device_num, absent=none)
    if name in _STATE_TIMES:
        time = _STATE_TIMES[name]
        base = select().where(time.is_not(None))
        return Lane(time, base, device_state.c.device_num, absent=missing, absent_value=-1)
    if name == "reported.firmware_version":
        version = device_state.c.firmware_version
        base = select().where(version != "")
        return Lane(by_code_point(version, dialect), base, device_state.c.device_num, absent=missing)
    if name == "external_id":
        external: Any = devices.c.external_id
        base = select().where(external.is_not(None))
        return Lane(by_code_point(external, dialect), base, devices.c.device_num, absent=missing)
    if name == "device_type":
        return Lane(by_code_point(device_types.c.type_id, dialect), select())
    if name == "site_id":
        owned = (sites.c.site_num, devices.c.site_num)
        return Lane(by_code_point(sites.c.site_id, dialect), select(), owned=owned, absent=missing)
    if name in _DEVICE_COLUMNS:
        column: Any = _DEVICE_COLUMNS[name]
        return Lane(by_code_point(column, dialect) if key.kind is str else column, select(), devices.c.device_num)
    return None


def next_value(
    connection: Connection, lane: Lane, key: OrderKey, value: int | str | None, skipped: int = 0
) -> int | str | None:
    """The value behind `value` (None: the first), or behind those of some rows more; None: there is none."""
    if lane.values is None:
        step, first = (-1, len(key.field.values)) if key.descending else (1, 1)
        following = first if value is None else int(value) + step
        return following if 0 < following <= len(key.field.values) else None
    assert lane.base is not None
    query = lane.base.with_only_columns(lane.values)
    if value is not None:
        query = query.where(lane.values < value if key.descending else lane.values > value)
    query = query.order_by(lane.values.desc() if key.descending else lane.values.asc())
    found: int | str | None = connection.execute(query.limit(1).offset(skipped)).scalar()
    return found


def stretch_between(lane: Lane, key: OrderKey, first: int | str, end: int | str | None) -> Subquery:
    """Numbers of the devices with values from `first` to before `end`, in the lane's direction; None: to its end."""
    assert lane.values is not None
    assert lane.base is not None
    clauses: list[Clause] = [lane.values <= first if key.descending else lane.values >= first]
    if end is not None:
        clauses.append(lane.values > end if key.descending else lane.values < end)
    if lane.owned is not None:
        number, column = lane.owned
        meant = lane.base.with_only_columns(number).where(*clauses)
        return select(devices.c.device_num).where(column.in_(meant)).subquery("stretch")
    assert lane.number is not None
    rows = lane.base.with_only_columns(lane.number.label("device_num"))
    return rows.where(*clauses).subquery("stretch")


def has_more(connection: Connection, stretch: Subquery, count: int) -> bool:
    """Whether there are more than `count` devices in it."""
    beyond = select(stretch.c.device_num).offset(count).limit(1)
    return connection.execute(beyond).first() is not None
