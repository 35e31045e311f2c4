"""Lists of the audit log by any filter, however long the log is: a page is made in bounded time, and may be short.

Events are looked at piece by piece in the order of their numbers, which grow with their times, as far as the time goes:
those that an index finds by a field that must be equal to something, or else all.
"""

import time
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, String, func, literal, select, text, tuple_
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from registry.audit.event import OK, Event
from registry.db.audit import event_of
from registry.db.conditions import Binding, Point, Text, clause_of
from registry.db.schema import audit_events
from registry.filter import condition as tree
from registry.filter.condition import All, Condition, Relation, Test, conjuncts
from registry.filter.evaluate import holds_of

# Events looked at by the first question; by the next as many as there is time for.
PIECE = 2000
MAX_GROWTH = 4.0
# Of a whole page, seconds.
BUDGET_S = 0.02
_columns = audit_events.c
_TEXTS = ("actor", "peer", "method", "request_id", "resource", "result")
# Fields that have an index with the number behind them, whose values are shared by fewer events than were refused, or
# by more.
_RARE, _COMMON = ("request_id", "resource"), ("actor", "method")
# Word for word as the index has it, which is not used for a parameter.
_REFUSED = text("audit_events.result <> 'OK'")


class Edge(msgspec.Struct, frozen=True):
    """The last event that was looked at."""

    event_num: int
    event_time_ms: int


class Page(msgspec.Struct, frozen=True):
    """`end`: behind it the next page begins; None: that was all."""

    events: list[Event]
    end: Edge | None = None


def list_events(
    connection: Connection, condition: Condition, after_num: int | None, limit: int, *, newest_first: bool
) -> Page:
    """Up to `limit` events that match, fewer if they are far between.

    Args: after_num: of the event behind which to begin; None: from the beginning.
    """
    first, last = _range_of(connection, condition)
    if after_num is not None and newest_first:
        last = min(last, after_num - 1)
    elif after_num is not None:
        first = max(first, after_num + 1)
    walk = _walk_of(condition, connection.dialect.name)
    found: list[Event] = []
    size, end = PIECE, time.monotonic() + BUDGET_S
    while first <= last:
        started = time.monotonic()
        edge = walk.edge(connection, first, last, size, newest_first=newest_first)
        low, high = (edge, last) if newest_first else (first, edge)
        piece = walk.piece(low, high, size, newest_first=newest_first).limit(limit - len(found))
        found += [event_of(row) for row in connection.execute(piece)]
        if len(found) == limit:
            return Page(found, Edge(found[-1].event_num, found[-1].event_time_ms))
        first, last = (first, low - 1) if newest_first else (high + 1, last)
        now = time.monotonic()
        if now >= end and first <= last:
            return Page(found, _edge_at(connection, edge))
        size = int(size * max(0.5, min(MAX_GROWTH, (end - now) / max(now - started, 1e-6))))
    return Page(found)


class _Walk(msgspec.Struct, frozen=True):
    """A way through events in the order of their numbers.

    Attributes:
        rest: what is to be asked of those that are met.
        column, value: only those that have this are met, by an index; None: all are.
        are_refused: only those that were refused are met, by an index.
    """

    dialect: str
    rest: tuple[Condition, ...]
    column: ColumnElement[Any] | None = None
    value: str = ""
    are_refused: bool = False

    @property
    def _is_by_index(self) -> bool:
        return self.column is not None or self.are_refused

    def between(self, query: Select[Any], low: int, high: int, *, newest_first: bool) -> Select[Any]:
        """What is met from one number to another, in order."""
        number = _columns.event_num
        if self.column is None:
            query = query.where(number >= low, number <= high, *((_REFUSED,) if self.are_refused else ()))
            return query.order_by(number.desc() if newest_first else number)
        value = literal(self.value, String())
        if self.dialect == "sqlite":  # it takes the index for what is equal, and has no rows with a row id in it
            query = query.where(self.column == value, number >= low, number <= high)
            return query.order_by(number.desc() if newest_first else number)
        # Compared and ordered as rows: whatever the planner thinks of the value, this is read off its index.
        pair, begin, end = (tuple_(left, right) for left, right in ((self.column, number), (value, low), (value, high)))
        query = query.where(pair >= begin, pair <= end)
        if newest_first:
            return query.order_by(self.column.desc(), number.desc())
        return query.order_by(self.column, number)

    def piece(self, low: int, high: int, size: int, *, newest_first: bool) -> Select[Any]:
        """What matches from one number to another, in order. Args: size: as many are met at most."""
        met = self.between(select(audit_events), low, high, newest_first=newest_first)
        if not self._is_by_index or self.dialect == "sqlite":
            return met.where(self._passes(_columns))
        # PostgreSQL takes the second part of a row for nothing, and would read the whole table for what is so seldom.
        few = met.limit(size).subquery()
        number = few.c.event_num
        return select(few).where(self._passes(few.c)).order_by(number.desc() if newest_first else number)

    def _passes(self, columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
        bindings: dict[str, Binding] = {name: Text(columns[name]) for name in _TEXTS}
        bindings["event_time"] = Point(columns["event_time_ms"])
        return clause_of(All(self.rest), bindings, {}, self.dialect)

    def edge(self, connection: Connection, first: int, last: int, size: int, *, newest_first: bool) -> int:
        """The number with which a piece ends that meets so many."""
        if last - first < size:
            return first if newest_first else last
        if not self._is_by_index:
            return last - size + 1 if newest_first else first + size - 1
        met = self.between(select(_columns.event_num), first, last, newest_first=newest_first)
        found: int | None = connection.execute(met.offset(size - 1).limit(1)).scalar()
        if found is None:
            return first if newest_first else last
        return found


def _walk_of(condition: Condition, dialect: str) -> _Walk:
    parts = conjuncts(condition)
    if walk := _by_value(parts, _RARE, dialect):
        return walk
    if _is_refused(condition):
        return _Walk(dialect, tuple(parts), are_refused=True)
    return _by_value(parts, _COMMON, dialect) or _Walk(dialect, tuple(parts))


def _by_value(parts: list[Condition], names: tuple[str, ...], dialect: str) -> _Walk | None:
    for name in names:
        for at, part in enumerate(parts):
            if not isinstance(part, Test) or part.field.name != name or part.negated:
                continue
            if part.relation is Relation.EQUAL:
                return _Walk(dialect, (*parts[:at], *parts[at + 1 :]), _columns[name], str(part.value))
    return None


def _is_refused(condition: Condition) -> bool:
    """Whether nothing that went well is meant."""
    match condition:
        case tree.All(parts):
            return any(map(_is_refused, parts))
        case tree.Any(parts):
            return all(map(_is_refused, parts))
        case Test(field=field, negated=negated) if field.name == "result":
            return holds_of(condition.relation, condition.value, OK) is negated
    return False


def _range_of(connection: Connection, condition: Condition) -> tuple[int, int]:
    """Numbers of the first and the last event that may match: what the condition says of times is found by an index."""
    firsts = [_extreme(connection, func.min(_columns.event_num)) or 1]
    lasts = [_extreme(connection, func.max(_columns.event_num)) or 0]
    for part in conjuncts(condition):
        if not isinstance(part, Test) or part.field.name != "event_time" or part.negated:
            continue
        if part.relation in (Relation.GREATER, Relation.GREATER_EQUAL, Relation.EQUAL):
            since = select(_columns.event_num).where(_columns.event_time_ms >= part.value)
            found = connection.execute(since.order_by(_columns.event_time_ms, _columns.event_num).limit(1)).scalar()
            firsts.append(lasts[0] + 1 if found is None else found)
        if part.relation in (Relation.LESS, Relation.LESS_EQUAL, Relation.EQUAL):
            until = select(_columns.event_num).where(_columns.event_time_ms <= part.value)
            newest = until.order_by(_columns.event_time_ms.desc(), _columns.event_num.desc()).limit(1)
            lasts.append(connection.execute(newest).scalar() or 0)
    return max(firsts), min(lasts)


def _extreme(connection: Connection, number: ColumnElement[Any]) -> int | None:
    found: int | None = connection.execute(select(number)).scalar()
    return found


def _edge_at(connection: Connection, event_num: int) -> Edge:
    """Args: event_num: between the first and the last of the log, which has no gaps."""
    time_of = select(_columns.event_time_ms).where(_columns.event_num == event_num)
    return Edge(event_num, connection.execute(time_of).scalar_one())
