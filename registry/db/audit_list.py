"""Lists of the audit log by any filter, however long the log is: a page is made in bounded time, and may be short.

The log is read by the numbers of its events, which grow with their times, span by span: as far as the time goes.
"""

import time
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from registry.audit.event import Event
from registry.db.audit import event_of
from registry.db.conditions import Binding, Point, Text, clause_of
from registry.db.schema import audit_events
from registry.filter.condition import Condition, Relation, Test, conjuncts

# Numbers looked at by the first question; by the next as many as there is time for.
SPAN = 10_000
MAX_GROWTH = 8.0
# Of a whole page, seconds.
BUDGET_S = 0.1
_columns = audit_events.c
_BINDINGS: dict[str, Binding] = {
    **{name: Text(_columns[name]) for name in ("actor", "peer", "method", "request_id", "resource", "result")},
    "event_time": Point(_columns.event_time_ms),
}


class Page(msgspec.Struct, frozen=True):
    """`last_num`: the event behind which the next page begins; None: that was all."""

    events: list[Event]
    last_num: int | None


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
    matching = select(audit_events).where(clause_of(condition, _BINDINGS, {}, connection.dialect.name))
    matching = matching.order_by(_columns.event_num.desc() if newest_first else _columns.event_num)
    found: list[Event] = []
    span, end = SPAN, time.monotonic() + BUDGET_S
    while first <= last:
        low, high = (max(first, last - span + 1), last) if newest_first else (first, min(last, first + span - 1))
        started = time.monotonic()
        piece = matching.where(_columns.event_num >= low, _columns.event_num <= high).limit(limit - len(found))
        found += [event_of(row) for row in connection.execute(piece)]
        if len(found) == limit:
            return Page(found, found[-1].event_num)
        first, last = (first, low - 1) if newest_first else (high + 1, last)
        now = time.monotonic()
        if now >= end and first <= last:
            return Page(found, low if newest_first else high)
        span = int(span * max(0.5, min(MAX_GROWTH, (end - now) / max(now - started, 1e-6))))
    return Page(found, None)


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
