"""Sets of devices that an index gives, and that hold every device a condition is for: where a search begins."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Subquery, and_, func, select, union_all

from registry.db.conditions import Clause, by_code_point, text_clause
from registry.db.conditions import Point as PointBinding
from registry.db.near import near_by_index
from registry.db.schema import (
    device_labels,
    device_state,
    device_types,
    devices,
    group_members,
    groups,
    sites,
    unheard_devices,
)
from registry.devices.model import State
from registry.filter import condition as tree
from registry.filter.condition import Call, Condition, Relation, Test, conjuncts
from registry.filter.fields import STATES

# Sets that are counted to find the smallest.
_MAX_TRIED = 4
# Of a source: up to this rank it is nearly always a small one.
_RARE = 2
# Parts of an `OR` that are put together.
_MAX_PARTS = 60
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_gateway = devices.alias("gateway_sought")
# Each with its rank: how many devices have usually the same.
_TEXTS: dict[str, tuple[int, ColumnElement[Any]]] = {
    "device_id": (0, devices.c.device_id),
    "external_id": (0, devices.c.external_id),
    "display_name": (4, devices.c.display_name),
    "ward_code": (5, devices.c.ward_code),
    "reported.firmware_version": (7, device_state.c.firmware_version),
}
_POINTS: dict[str, ColumnElement[Any]] = {
    "device_num": devices.c.device_num,
    "create_time": devices.c.create_time_ms,
    "update_time": devices.c.update_time_ms,
    "reported.last_seen_time": device_state.c.last_seen_ms,
    "reported.last_reading_time": device_state.c.last_reading_ms,
}
# (rank, number, the other table's number, its id)
_REFERENCES: dict[str, tuple[int, ColumnElement[Any], ColumnElement[Any], ColumnElement[Any]]] = {
    "gateway": (2, devices.c.gateway_num, _gateway.c.device_num, _gateway.c.device_id),
    "site_id": (2, devices.c.site_num, sites.c.site_num, sites.c.site_id),
    "device_type": (8, devices.c.type_num, device_types.c.type_num, device_types.c.type_id),
}
# Words that follow from times; of all but one of them, those of few devices are sought.
_JUDGED = ("connectivity", "health")
# Types that say no interval.
_UNTOLD = select(device_types.c.type_num).where(device_types.c.expected_interval_s == 0)
# What devices without a value have, where an index finds it; of what they report it is also those without a state.
_ABSENT: dict[str, Clause] = {
    "external_id": devices.c.external_id.is_(None),
    "gateway": devices.c.gateway_num == 0,
    "site_id": devices.c.site_num == 0,
    "reported.firmware_version": device_state.c.firmware_version == "",
    "reported.last_seen_time": device_state.c.last_seen_ms.is_(None),
    "reported.last_reading_time": device_state.c.last_reading_ms.is_(None),
}
# PostgreSQL reads an index in the order of what stands behind NULL only as long as there are few.
_IN_ORDER = {"postgresql": ("gateway", "site_id", "reported.last_seen_time"), "sqlite": tuple(_ABSENT)}


class Source(msgspec.Struct, frozen=True):
    """Numbers of devices, some perhaps of devices that are gone.

    Attributes:
        rank: the lower, the fewer they usually are.
        number: the column of `query`.
        is_ordered: an index gives them in the order of their numbers.
        has_doubles: some may be there twice.
    """

    rank: int
    number: ColumnElement[Any]
    query: Select[Any]
    is_ordered: bool = False
    has_doubles: bool = False

    def whole(self, limit: int) -> Subquery | None:
        """Up to so many of them with all columns of `devices`; None: an index of another table gives them."""
        if self.has_doubles or self.number.table is not devices:
            return None
        return self.query.with_only_columns(*devices.c).limit(limit).subquery("whole")

    def few(self, limit: int) -> Subquery:
        """Up to so many of them, each once, as `device_num`."""
        query = self.query.distinct() if self.has_doubles else self.query
        return query.limit(limit).subquery("few")


class Times(msgspec.Struct, frozen=True):
    """UTC milliseconds: every device that is offline was last seen before the first, every device whose health is bad
    read something last before the second, and every one whose health is degraded before the third, if ever."""

    offline_before_ms: int
    bad_before_ms: int
    late_before_ms: int


class Counted(msgspec.Struct, frozen=True):
    """`count` is how many there are; not `is_exact`: or more."""

    source: Source
    count: int
    is_exact: bool


ALL = Source(10, devices.c.device_num, select(devices.c.device_num), is_ordered=True)


def smallest(
    connection: Connection, condition: Condition, times: Times, few: int, limit: int, *, by_number: bool
) -> Counted | None:
    """The smallest set that holds all devices of the condition; None: no index gives one.

    Args:
        few: no smaller set is looked for than one of so many.
        limit: counted up to.
        by_number: is_ordered is as good as small.
    """
    finder = _Finder(connection, times)
    found = [source for part in conjuncts(condition) if (source := finder.source(part))]
    found = sorted(found, key=lambda each: each.rank)[:_MAX_TRIED]
    # What one device or a few have is counted by itself: more need not be asked then.
    if by_number and len(found) == 1 and found[0].is_ordered:
        limit = few + 1
    first = found[:1] if found and found[0].rank <= _RARE else found
    counted = _counted(connection, first, limit)
    if not any(one.count <= few for one in counted):
        counted += _counted(connection, found[len(first) :], limit)
    return min(counted, key=lambda one: one.count, default=None)


def _counted(connection: Connection, sources: list[Source], limit: int) -> list[Counted]:
    if not sources:
        return []
    parts = [select(func.count()).select_from(one.query.limit(limit).subquery()).scalar_subquery() for one in sources]
    counts = connection.execute(select(*parts)).one()
    return [Counted(source, count, count < limit) for source, count in zip(sources, counts, strict=True)]


class _Finder:
    def __init__(self, connection: Connection, times: Times) -> None:
        self._dialect = connection.dialect.name
        self._times = times

    def source(self, condition: Condition) -> Source | None:
        match condition:
            case tree.All(parts):
                found = [source for part in parts if (source := self.source(part))]
                return min(found, key=lambda each: each.rank, default=None)
            case tree.Any(parts) if 0 < len(parts) <= _MAX_PARTS:
                return self._united([self.source(part) for part in parts])
            case Call("in_group", (group_id,), False):
                group = select(groups.c.group_num).where(groups.c.group_id == group_id).scalar_subquery()
                return _source(1, group_members.c.device_num, group_members.c.group_num == group, is_ordered=True)
            case Call("near", (float(latitude), float(longitude), float(radius_m)), False):
                return _source(3, devices.c.device_num, near_by_index(latitude, longitude, radius_m))
            case Test(relation=Relation.EQUAL, negated=True) if condition.field.name in _JUDGED:
                others = (word for word in condition.field.values if word != condition.value)
                return self._united([self._of_test(Test(condition.field, "", Relation.EQUAL, word)) for word in others])
            case Test(relation=Relation.PRESENT, negated=True) if condition.field.name in _ABSENT:
                return _absent(condition.field.name, self._dialect)
            case Test(negated=False) if condition.relation is not Relation.PRESENT:
                return self._of_test(condition)
        return None

    def _united(self, parts: list[Source | None]) -> Source | None:
        sources = [part for part in parts if part is not None]
        if len(sources) < len(parts) or len(sources) == 1:
            return parts[0] if len(parts) == 1 else None
        united = union_all(*(source.query for source in sources)).subquery()
        number = united.c.device_num
        return Source(max(source.rank for source in sources), number, select(number), has_doubles=True)

    def _of_test(self, test: Test) -> Source | None:
        name, is_equal = test.field.name, test.relation is Relation.EQUAL
        if name in _TEXTS:
            return self._of_text(test, *_TEXTS[name])
        if name in _REFERENCES:
            return self._of_reference(test, *_REFERENCES[name])
        if name in _POINTS:
            column = _POINTS[name]
            clause = PointBinding(column).clause(test, self._dialect)
            return _source(0 if is_equal else 6, _number_beside(column), clause, is_ordered=is_equal)
        match name, test.value:
            case "labels", _:
                return self._of_label(test)
            case "state", str(word):
                return _source(9, devices.c.device_num, devices.c.state == _state(word), is_ordered=True)
            case "connectivity", "never_seen":
                return self._never_seen()
            case "connectivity", "offline":
                return _source(
                    6, device_state.c.device_num, device_state.c.last_seen_ms < self._times.offline_before_ms
                )
            case "health", "unknown":
                untold = select(devices.c.device_num).where(devices.c.type_num.in_(_UNTOLD))
                return self._united([self._never_seen(), Source(8, devices.c.device_num, untold)])
            case "health", "degraded":
                reading = device_state.c.last_reading_ms
                late = [reading < self._times.late_before_ms, reading.is_(None)]
                return self._united([_source(6, device_state.c.device_num, clause) for clause in late])
            case "health", "bad":
                return _source(6, device_state.c.device_num, device_state.c.last_reading_ms < self._times.bad_before_ms)
        return None

    def _never_seen(self) -> Source:
        return _absent("reported.last_seen_time", self._dialect)

    def _of_text(self, test: Test, rank: int, column: ColumnElement[Any]) -> Source | None:
        if test.relation is Relation.EQUAL:
            if not test.value and (column.table is not devices or column.nullable):
                return None  # what is empty there is NULL, or has no row
            return _source(rank, _number_beside(column), column == test.value, is_ordered=True)
        clauses = list(self._range(column, test))
        return _source(rank + 1, _number_beside(column), and_(*clauses)) if clauses else None

    def _of_reference(
        self, test: Test, rank: int, column: ColumnElement[Any], number: ColumnElement[Any], name: ColumnElement[Any]
    ) -> Source | None:
        own = devices.c.device_num
        if test.relation is Relation.EQUAL:
            meant = select(number).where(name == test.value).scalar_subquery()
            return _source(rank, own, column == (meant if test.value else 0), is_ordered=True)
        clauses = list(self._range(name, test))
        return _source(rank + 1, own, column.in_(select(number).where(*clauses))) if clauses else None

    def _of_label(self, test: Test) -> Source | None:
        has_key = device_labels.c.key == test.key
        if test.relation is Relation.EQUAL:
            clause = and_(has_key, device_labels.c.value == test.value)
            return _source(3, device_labels.c.device_num, clause, is_ordered=True)
        clauses = list(self._range(device_labels.c.value, test))
        return _source(4, device_labels.c.device_num, and_(has_key, *clauses)) if clauses else None

    def _range(self, column: ColumnElement[Any], test: Test) -> Iterator[Clause]:
        """Of texts that the empty one is not among. Nothing: an index is of no help."""
        text = by_code_point(column, self._dialect)
        match test.relation, test.value:
            case (Relation.GREATER, str(wanted)) | (Relation.GREATER_EQUAL, str(wanted)) if wanted:
                yield text_clause(column, test.relation, wanted, self._dialect)
            case Relation.MATCHES, (str(prefix), *_) if prefix:
                yield text >= prefix
                if end := _behind_prefix(prefix):
                    yield text < end


def _source(rank: int, number: ColumnElement[Any], clause: Clause, *, is_ordered: bool = False) -> Source:
    return Source(rank, number, select(number.label("device_num")).where(clause), is_ordered)


def _absent(name: str, dialect: str) -> Source:
    """Devices that have no value there, or an empty one."""
    clause, is_ordered = _ABSENT[name], name in _IN_ORDER[dialect]
    if not name.startswith("reported."):
        return _source(8, devices.c.device_num, clause, is_ordered=is_ordered)
    never = select(unheard_devices.c.device_num)
    silent = select(device_state.c.device_num).where(clause)
    number = union_all(never, silent).subquery("absent").c.device_num
    return Source(8, number, select(number.label("device_num")), is_ordered)


def _number_beside(column: ColumnElement[Any]) -> ColumnElement[Any]:
    found: ColumnElement[Any] = column.table.c.device_num
    return found


def _state(word: str) -> State:
    return State(STATES.index(word) + 1)


def _behind_prefix(prefix: str) -> str:
    """The first text that comes behind all that begin with `prefix`; empty: nothing does."""
    while prefix:
        last = ord(prefix[-1])
        if last < _LAST_CHARACTER:
            following = last + 1
            return prefix[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
        prefix = prefix[:-1]
    return ""
