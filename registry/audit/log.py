"""Writing the audit log: in the transaction that makes the changes, so that neither is there without the other.

All writes of all registries on a database come one after the other, so each event knows the one before it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection

from registry.audit.event import OK, Event, Origin, beginning, chained
from registry.audit.record import Change, noting
from registry.db import audit as db
from registry.db import sequence

P = ParamSpec("P")
R = TypeVar("R")

MAX_RESOURCE, MAX_RESULT, MAX_REQUEST_ID = 191, 127, 63


def recorded(
    connection: Connection,
    origin: Origin,
    work: Callable[Concatenate[Connection, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Run `work(connection, ...)` and log what it notes as changed."""
    with noting() as changes:
        result = work(connection, *args, **kwargs)
    append(connection, origin, changes)
    return result


def append(connection: Connection, origin: Origin, changes: Sequence[Change], result: str = OK) -> None:
    """Log changes, one event each."""
    if not changes:
        return
    last = db.last_event(connection) or beginning(sequence.head(connection).registry_id)
    # Clocks of several registries differ, and may be set back; the log's own never is.
    now_ms = max(sequence.now_ms(), last.event_time_ms)
    chain = last.chain_sha256
    origin = Origin(
        origin.actor, origin.method, _told(origin.peer, MAX_RESOURCE), _told(origin.request_id, MAX_REQUEST_ID)
    )
    events = []
    for event_num, change in enumerate(changes, last.event_num + 1):
        plain = Event(
            event_num,
            now_ms,
            origin,
            _told(change.resource, MAX_RESOURCE),
            _json(change.before),
            _json(change.after),
            _told(result, MAX_RESULT),
        )
        chain = chained(chain, plain)
        events.append(msgspec.structs.replace(plain, chain_sha256=chain))
    db.insert_events(connection, events)


def append_refusal(connection: Connection, origin: Origin, resource: str, result: str, unrecorded: int = 0) -> None:
    """Log that a call was refused. Args: unrecorded: as many before it were refused and not logged."""
    after = {"refusals_not_recorded": unrecorded} if unrecorded else None
    append(connection, origin, [Change(resource, None, after)], result)


def _json(state: dict[str, Any] | None) -> str:
    return "" if state is None else msgspec.json.encode(state, order="sorted").decode()


def _told(text: str, limit: int) -> str:
    """What a caller has sent, as a short line."""
    return "".join(char if char.isprintable() else "?" for char in text[:limit])
