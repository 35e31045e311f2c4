"""Counts of devices by what they have in common: in one statement, or of all devices off an index alone."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, text

from registry.db import device_tally, judged_tally
from registry.db.conditions import by_code_point
from registry.db.device_list import View
from registry.db.schema import device_types, devices, sites
from registry.filter.condition import Condition, Relation, Test, conjuncts, tests_of
from registry.filter.fields import Type
from registry.filter.order import OrderKey

_gateway = devices.alias("gateway_named")
# Numbers are counted, and get their names when only the groups are left: (counted, number, name).
_NAMED = {
    "device_type": (devices.c.type_num, device_types.c.type_num, device_types.c.type_id),
    "gateway": (devices.c.gateway_num, _gateway.c.device_num, _gateway.c.device_id),
    "site_id": (devices.c.site_num, sites.c.site_num, sites.c.site_id),
}

# Indices end with the state, so that a count by one of these reads an index alone, as long as nothing else is asked.
_COVERED = ("ward_code", "device_type", "gateway", "site_id", "state")
# To compile a query takes longer than to run it, and the planner thinks a whole table quicker to read than its index.
_QUICKLY = text("SELECT set_config('jit', 'off', true), set_config('enable_seqscan', :seqscan, true)")


def count_groups(
    connection: Connection, condition: Condition, keys: Sequence[OrderKey], max_groups: int, now_ms: int
) -> tuple[list[tuple[tuple[str, ...], int]], int, int]:
    """The largest groups (values, devices), how many devices there are in all groups, and how many groups."""
    if _is_everything(condition) and (counts := _of_everything(connection, keys, now_ms)) is not None:
        return _largest(counts, max_groups)
    if connection.dialect.name == "postgresql":
        connection.execute(_QUICKLY, {"seqscan": "off" if _is_covered(condition, keys) else "on"})
    view = View(connection, now_ms)
    counted = [_counted(view, key).label(f"key_{at}") for at, key in enumerate(keys)]
    plain = [key for key in keys if key.field.name not in _NAMED]
    inner = view.select([*counted, func.count().label("devices")], condition, plain).group_by(*counted).subquery()
    source: Any = inner
    shown: list[ColumnElement[Any]] = []
    for at, key in enumerate(keys):
        column: ColumnElement[Any] = inner.c[f"key_{at}"]
        if key.field.name in _NAMED:
            _, number, name = _NAMED[key.field.name]
            source = source.outerjoin(number.table, number == column)
            column = func.coalesce(name, "")
        shown.append(column)
    ordered = [
        column if key.field.type is Type.ENUM else by_code_point(column, connection.dialect.name)
        for key, column in zip(keys, shown, strict=True)
    ]
    query = (
        select(*shown, inner.c.devices, func.sum(inner.c.devices).over(), func.count().over())
        .select_from(source)
        .where(inner.c.devices > 0)
        .order_by(inner.c.devices.desc(), *ordered)
        .limit(max_groups)
    )
    rows = connection.execute(query).all()
    if not rows:
        return [], 0, 0
    groups = [(tuple(map(_shown, keys, row[: len(keys)])), row.devices) for row in rows]
    return groups, int(rows[0][-2]), rows[0][-1]


def _of_everything(connection: Connection, keys: Sequence[OrderKey], now_ms: int) -> dict[str, int] | None:
    """In the order of the key; None: no index has these."""
    match [key.field.name for key in keys]:
        case ["reported.firmware_version"]:
            return dict(sorted(device_tally.by_firmware(connection).items()))
        case ["connectivity" | "health" as name]:
            intervals = judged_tally.intervals_of(connection)
            if intervals is None:
                return None
            if connection.dialect.name == "postgresql":
                connection.execute(_QUICKLY, {"seqscan": "off"})
            count = judged_tally.by_health if name == "health" else judged_tally.by_connectivity
            found = count(connection, intervals, now_ms)
            return {_shown(keys[0], judged): found[judged] for judged in sorted(found)}
    return None


def _is_everything(condition: Condition) -> bool:
    """Whether it is for all devices but those that are deleted."""
    match conjuncts(condition):
        case [Test(field=field, relation=Relation.EQUAL, value="deleted", negated=True)]:
            return field.name == "state"
    return False


def _largest(counts: dict[str, int], max_groups: int) -> tuple[list[tuple[tuple[str, ...], int]], int, int]:
    ordered = sorted(counts.items(), key=lambda group: -group[1])
    return [((value,), count) for value, count in ordered[:max_groups]], sum(counts.values()), len(counts)


def _is_covered(condition: Condition, keys: Sequence[OrderKey]) -> bool:
    names = {key.field.name for key in keys}
    tested = {test.field.name if isinstance(test, Test) else test.name for test in tests_of(condition)}
    return len(names) <= 1 and names <= set(_COVERED) and tested <= names | {"state"}


def _counted(view: View, key: OrderKey) -> ColumnElement[Any]:
    if key.field.name in _NAMED:
        return _NAMED[key.field.name][0]
    return view.sort_column(key)


def _shown(key: OrderKey, value: Any) -> str:
    return key.field.values[value - 1] if key.field.type is Type.ENUM else str(value)
