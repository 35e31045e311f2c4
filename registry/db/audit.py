"""The audit log in SQL: rows are added behind the last and removed from the front, and never change."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, Select, delete, func, insert, literal, select

from registry.audit.event import End, Event, Origin
from registry.db.conditions import Binding, Clause, Point, Text, clause_of
from registry.db.schema import audit_events
from registry.filter.condition import Condition, Relation, Test, conjuncts

_columns = audit_events.c
_BINDINGS: dict[str, Binding] = {
    **{name: Text(_columns[name]) for name in ("actor", "peer", "method", "request_id", "resource", "result")},
    "event_time": Point(_columns.event_time_ms),
}
_BEYOND = 2**62


def last_event(connection: Connection) -> End | None:
    newest = select(_columns.event_num, _columns.event_time_ms, _columns.chain_sha256)
    row = connection.execute(newest.order_by(_columns.event_num.desc()).limit(1)).one_or_none()
    return End(*row) if row else None


def insert_events(connection: Connection, events: Sequence[Event]) -> None:
    connection.execute(
        insert(audit_events),
        [
            {
                "event_num": event.event_num,
                "event_time_ms": event.event_time_ms,
                "actor": event.origin.actor,
                "peer": event.origin.peer,
                "method": event.origin.method,
                "request_id": event.origin.request_id,
                "resource": event.resource,
                "before": event.before,
                "after": event.after,
                "result": event.result,
                "chain_sha256": event.chain_sha256,
            }
            for event in events
        ],
    )


def find_event(connection: Connection, event_num: int) -> Event | None:
    row = connection.execute(select(audit_events).where(_columns.event_num == event_num)).one_or_none()
    return _event(row) if row else None


def events_after(connection: Connection, event_num: int, limit: int) -> list[Event]:
    """In their order."""
    query = select(audit_events).where(_columns.event_num > event_num).order_by(_columns.event_num).limit(limit)
    return [_event(row) for row in connection.execute(query)]


def list_events(
    connection: Connection, condition: Condition, after_num: int | None, limit: int, *, newest_first: bool
) -> list[Event]:
    """Args: after_num: of the event behind which to begin; None: from the beginning."""
    query = select(audit_events).where(clause_of(condition, _BINDINGS, {}, connection.dialect.name))
    query = query.where(*_range_of(condition))
    if after_num is not None:
        query = query.where(_columns.event_num < after_num if newest_first else _columns.event_num > after_num)
    order = _columns.event_num.desc() if newest_first else _columns.event_num.asc()
    return [_event(row) for row in connection.execute(query.order_by(order).limit(limit))]


def last_by(connection: Connection, method: str, resource: str) -> Event | None:
    query = select(audit_events).where(_columns.resource == resource, _columns.method == method)
    row = connection.execute(query.order_by(_columns.event_num.desc()).limit(1)).one_or_none()
    return _event(row) if row else None


def last_before(connection: Connection, time_ms: int, limit: int) -> End | None:
    """The last of the first `limit` events, if it is older than `time_ms`; otherwise the last that is."""
    first = select(_columns.event_num, _columns.event_time_ms, _columns.chain_sha256)
    oldest = first.order_by(_columns.event_num).limit(limit).subquery()
    query = select(oldest).where(oldest.c.event_time_ms < time_ms).order_by(oldest.c.event_num.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return End(*row) if row else None


def delete_through(connection: Connection, event_num: int) -> int:
    return connection.execute(delete(audit_events).where(_columns.event_num <= event_num)).rowcount


def _range_of(condition: Condition) -> list[Clause]:
    """What the condition says about times, in numbers: they grow with the times, and the list is read by them."""
    found: list[Clause] = []
    for part in conjuncts(condition):
        if isinstance(part, Test) and part.field.name == "event_time" and not part.negated:
            time = literal(part.value, BigInteger())
            if part.relation in (Relation.GREATER, Relation.GREATER_EQUAL, Relation.EQUAL):
                since = _nums().where(_columns.event_time_ms >= time)
                first = since.order_by(_columns.event_time_ms, _columns.event_num).limit(1)
                found.append(_columns.event_num >= _or(first, _BEYOND))
            if part.relation in (Relation.LESS, Relation.LESS_EQUAL, Relation.EQUAL):
                until = _nums().where(_columns.event_time_ms <= time)
                last = until.order_by(_columns.event_time_ms.desc(), _columns.event_num.desc()).limit(1)
                found.append(_columns.event_num <= _or(last, 0))
    return found


def _nums() -> Select[Any]:
    # Of the same table, but not of the row that is looked at.
    return select(_columns.event_num).correlate(None)


def _or(found: Select[Any], otherwise: int) -> ColumnElement[Any]:
    return func.coalesce(found.scalar_subquery(), literal(otherwise, BigInteger()))


def _event(row: Row[Any]) -> Event:
    return Event(
        event_num=row.event_num,
        event_time_ms=row.event_time_ms,
        origin=Origin(row.actor, row.method, row.peer, row.request_id),
        resource=row.resource,
        before=row.before,
        after=row.after,
        result=row.result,
        chain_sha256=bytes(row.chain_sha256),
    )
