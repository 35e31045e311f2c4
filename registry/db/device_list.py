"""Where the fields of a device are found, for filters and orders, and how many devices match."""

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, FromClause, Select, String, func, literal, select

from registry.db import liveness
from registry.db.conditions import (
    Binding,
    Caller,
    Clause,
    Labels,
    Point,
    Reference,
    Text,
    Word,
    by_code_point,
    clause_of,
)
from registry.db.near import near
from registry.db.schema import device_labels, device_state, device_types, devices, group_members, groups, sites
from registry.devices.model import State
from registry.filter.condition import Call, Condition, Relation, Test, tests_of
from registry.filter.fields import CONNECTIVITIES, HEALTHS
from registry.filter.order import OrderKey

_STATES = {"active": State.ACTIVE, "decommissioned": State.DECOMMISSIONED, "deleted": State.DELETED}
_gateway = devices.alias("gateway_of")


def count(connection: Connection, condition: Condition, now_ms: int) -> int:
    """How many devices match."""
    found: int = connection.execute(View(connection, now_ms).select([func.count()], condition)).scalar_one()
    return found


class View:
    """Where the fields of a device are found, at one time. Queries are `select`ed from it."""

    def __init__(self, connection: Connection, now_ms: int, *, for_few: bool = False) -> None:
        """Args: for_few: its queries look at some devices only."""
        self._for_few = for_few
        self._dialect = connection.dialect.name
        self._now_ms = now_ms

    def select(
        self,
        columns: list[Any],
        condition: Condition,
        order: Sequence[OrderKey] = (),
        begin: FromClause | None = None,
    ) -> Select[Any]:
        """Devices that match, with what the columns of `order` come from.

        Args: begin: the only ones to look at, each once, as `device_num`.
        """
        tested = [test for test in tests_of(condition) if not isinstance(test, Call)]
        names = {test.field.name for test in tested} | {key.field.name for key in order}
        ordered = {key.field.name for key in order}
        source: Any = devices if begin is None else begin.join(devices, devices.c.device_num == begin.c.device_num)
        if ordered & {"connectivity", "health", "device_type"} or any(map(_needs_interval, tested)):
            source = source.join(device_types, device_types.c.type_num == devices.c.type_num)
        if any(name.startswith("reported.") or name in ("connectivity", "health") for name in names):
            source = source.outerjoin(device_state, device_state.c.device_num == devices.c.device_num)
        if "gateway" in ordered:
            source = source.outerjoin(_gateway, _gateway.c.device_num == devices.c.gateway_num)
        if "site_id" in ordered:
            source = source.outerjoin(sites, sites.c.site_num == devices.c.site_num)
        clause = clause_of(condition, self._bindings(names), _CALLERS[self._for_few], self._dialect)
        return select(*columns).select_from(source).where(clause)

    def sort_column(self, key: OrderKey) -> ColumnElement[Any]:
        """Never NULL: what is absent is the smallest."""
        name = key.field.name
        if name == "labels":
            label = device_labels.alias()
            found = select(label.c.value).where(label.c.device_num == devices.c.device_num, label.c.key == key.key)
            return by_code_point(func.coalesce(found.scalar_subquery(), ""), self._dialect)
        if name in ("connectivity", "health"):
            return self._connectivity if name == "connectivity" else self._health
        column = _COLUMNS[name]
        if key.kind is str:
            text = column if column.table is devices and not column.nullable else _or_empty(column)
            return by_code_point(text, self._dialect)
        if name.startswith("reported."):
            return func.coalesce(column, literal(-1, BigInteger()))
        plain: ColumnElement[Any] = column
        return plain

    # To put these together takes as long as a small query, and most queries need none of them.
    @cached_property
    def _connectivity(self) -> ColumnElement[Any]:
        return liveness.connectivity(self._now_ms)

    @cached_property
    def _health(self) -> ColumnElement[Any]:
        return liveness.health(self._now_ms)

    def _bindings(self, names: Set[str]) -> Mapping[str, Binding]:
        found = dict(_BINDINGS)
        if "labels" in names:
            found["labels"] = Labels(device_labels, "device_num", devices.c.device_num, for_few=self._for_few)
        if "connectivity" in names:
            found["connectivity"] = _Connectivity(self._connectivity, _numbers(CONNECTIVITIES))
        if "health" in names:
            found["health"] = Word(self._health, _numbers(HEALTHS))
        return found


class _Connectivity(Word):
    """What was never seen is told by the state alone, without the interval of the type."""

    def clause(self, test: Test, dialect: str) -> Clause:
        is_simple = test.relation is Relation.EQUAL and test.value == CONNECTIVITIES[0]
        return device_state.c.last_seen_ms.is_(None) if is_simple else super().clause(test, dialect)


def _needs_interval(test: Test) -> bool:
    """Whether it takes the type of the device to answer."""
    if test.relation is Relation.PRESENT:
        return False
    return test.field.name == "health" or (test.field.name == "connectivity" and test.value != CONNECTIVITIES[0])


def _or_empty(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, literal("", String()))


def _numbers(words: Sequence[str]) -> Mapping[str, int]:
    return {word: at for at, word in enumerate(words, 1)}


_COLUMNS: dict[str, Any] = {
    "device_num": devices.c.device_num,
    "device_id": devices.c.device_id,
    "device_type": device_types.c.type_id,
    "gateway": _gateway.c.device_id,
    "site_id": sites.c.site_id,
    "display_name": devices.c.display_name,
    "external_id": devices.c.external_id,
    "site": devices.c.site,
    "ward_code": devices.c.ward_code,
    "hardware_revision": devices.c.hardware_revision,
    "state": devices.c.state,
    "create_time": devices.c.create_time_ms,
    "update_time": devices.c.update_time_ms,
    "reported.firmware_version": device_state.c.firmware_version,
    "reported.config_version": device_state.c.config_version,
    "reported.last_seen_time": device_state.c.last_seen_ms,
    "reported.last_reading_time": device_state.c.last_reading_ms,
}


_BINDINGS: Mapping[str, Binding] = {
    "device_num": Point(devices.c.device_num),
    "device_id": Text(devices.c.device_id),
    "display_name": Text(devices.c.display_name),
    "device_type": Reference(devices.c.type_num, device_types.c.type_num, device_types.c.type_id),
    "external_id": Text(devices.c.external_id),
    "gateway": Reference(devices.c.gateway_num, _gateway.c.device_num, _gateway.c.device_id),
    "site_id": Reference(devices.c.site_num, sites.c.site_num, sites.c.site_id),
    "site": Text(devices.c.site),
    "ward_code": Text(devices.c.ward_code),
    "hardware_revision": Text(devices.c.hardware_revision),
    "state": Word(devices.c.state, _STATES),
    "create_time": Point(devices.c.create_time_ms),
    "update_time": Point(devices.c.update_time_ms),
    "reported.firmware_version": Text(_or_empty(device_state.c.firmware_version)),
    "reported.config_version": Point(func.coalesce(device_state.c.config_version, 0), absent=0),
    "reported.last_seen_time": Point(device_state.c.last_seen_ms),
    "reported.last_reading_time": Point(device_state.c.last_reading_ms),
}


def _in_group(group_id: str) -> Clause:
    members = select(group_members.c.device_num).join(groups, groups.c.group_num == group_members.c.group_num)
    return devices.c.device_num.in_(members.where(groups.c.group_id == group_id))


# By whether they are for some devices only.
_CALLERS: Mapping[bool, Mapping[str, Caller]] = {
    for_few: {"near": near(devices, by_index=not for_few), "in_group": _in_group} for for_few in (False, True)
}
