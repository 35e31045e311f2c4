"""The audit log in SQL: rows are added behind the last and removed from the front, and never change."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from registry.audit.event import End, Event, Origin
from registry.db.bulk import insert_rows
from registry.db.schema import audit_events

_columns = audit_events.c
_CHAINED = tuple(
    _columns[name]
    for name in (
        "event_num",
        "event_time_ms",
        "actor",
        "peer",
        "method",
        "request_id",
        "resource",
        "before",
        "after",
        "result",
    )
)
# Fewer go quicker as one statement than as a stream.
_MANY = 10


def last_event(connection: Connection) -> End | None:
    newest = select(_columns.event_num, _columns.event_time_ms, _columns.chain_sha256)
    row = connection.execute(newest.order_by(_columns.event_num.desc()).limit(1)).one_or_none()
    return End(*row) if row else None


def insert_events(connection: Connection, events: Sequence[Event]) -> None:
    rows = [
        (
            event.event_num,
            event.event_time_ms,
            event.origin.actor,
            event.origin.peer,
            event.origin.method,
            event.origin.request_id,
            event.resource,
            event.before,
            event.after,
            event.result,
            event.chain_sha256,
        )
        for event in events
    ]
    names = [column.name for column in (*_CHAINED, _columns.chain_sha256)]
    if len(rows) < _MANY:
        connection.execute(insert(audit_events), [dict(zip(names, row, strict=True)) for row in rows])
    else:
        insert_rows(connection, audit_events, names, rows)


def find_event(connection: Connection, event_num: int) -> Event | None:
    row = connection.execute(select(audit_events).where(_columns.event_num == event_num)).one_or_none()
    return event_of(row) if row else None


def events_after(connection: Connection, event_num: int, limit: int) -> list[Event]:
    """In their order."""
    query = select(audit_events).where(_columns.event_num > event_num).order_by(_columns.event_num).limit(limit)
    return [event_of(row) for row in connection.execute(query)]


def links_after(connection: Connection, event_num: int, limit: int) -> list[tuple[tuple[int | str, ...], bytes]]:
    """Of events in their order what their chain is made of (registry.audit.event.chained_fields), and their chain."""
    query = select(*_CHAINED, _columns.chain_sha256).where(_columns.event_num > event_num)
    rows = connection.execute(query.order_by(_columns.event_num).limit(limit))
    return [(tuple(row[:-1]), bytes(row[-1])) for row in rows]


def last_by(connection: Connection, method: str, resource: str) -> Event | None:
    query = select(audit_events).where(_columns.resource == resource, _columns.method == method)
    row = connection.execute(query.order_by(_columns.event_num.desc()).limit(1)).one_or_none()
    return event_of(row) if row else None


def last_before(connection: Connection, time_ms: int, limit: int) -> End | None:
    """The last of the first `limit` events, if it is older than `time_ms`; otherwise the last that is."""
    first = select(_columns.event_num, _columns.event_time_ms, _columns.chain_sha256)
    oldest = first.order_by(_columns.event_num).limit(limit).subquery()
    query = select(oldest).where(oldest.c.event_time_ms < time_ms).order_by(oldest.c.event_num.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return End(*row) if row else None


def delete_through(connection: Connection, event_num: int) -> int:
    return connection.execute(delete(audit_events).where(_columns.event_num <= event_num)).rowcount


def event_of(row: Row[Any]) -> Event:
    """Of a row with all columns of the table."""
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
