"""Whether the audit log is as it was written, and its oldest part, which is not kept for ever."""

import msgspec
from sqlalchemy import Connection

from registry.audit.event import End, Origin, beginning, chained_fields
from registry.audit.log import append
from registry.audit.record import Change
from registry.db import audit as db
from registry.db import sequence

# What the removal of old events is an event of.
LOG = "auditEvents"
RETENTION = Origin("internal", "retention")
CHECKED_AT_ONCE = 5000
REMOVED_AT_ONCE = 10_000
DAY_MS = 86_400_000


class Removal(msgspec.Struct, frozen=True):
    """Events up to `through` are gone; `chain_sha256` (hexadecimal) is what the next one follows from."""

    through: int
    through_time_ms: int
    chain_sha256: str


class Walk(msgspec.Struct, frozen=True):
    """How far a check has come: `events` are sound, `last` was the last of them; `problem` is a sentence, or empty."""

    last: End
    events: int = 0
    first_broken: int = 0
    problem: str = ""
    is_over: bool = False


def start(connection: Connection) -> Walk:
    return Walk(beginning(sequence.head(connection).registry_id))


def go_on(connection: Connection, walk: Walk) -> Walk:
    """Check some more events. Each call may be a transaction of its own: the log only grows, or loses its oldest."""
    found = db.links_after(connection, walk.last.event_num, CHECKED_AT_ONCE)
    if not found:
        return msgspec.structs.replace(walk, is_over=True)
    last, events = walk.last, walk.events
    if (first := found[0][0][0]) != last.event_num + 1:
        removal = _last_removal(connection)
        if removal is None or removal.through + 1 != first:
            return _broken(last, events, last.event_num + 1, "is missing")
        last = End(removal.through, removal.through_time_ms, bytes.fromhex(removal.chain_sha256))
    for (event_num, event_time_ms, *rest), chain in found:
        if event_num != last.event_num + 1:
            return _broken(last, events, last.event_num + 1, "is missing")
        if chained_fields(last.chain_sha256, event_num, event_time_ms, *rest) != chain:
            return _broken(last, events, last.event_num + 1, "does not follow from the one before it")
        last, events = End(int(event_num), int(event_time_ms), chain), events + 1
    return Walk(last, events)


def compare(connection: Connection, walk: Walk, event_num: int, chain_sha256: bytes) -> Walk:
    """Hold a sound log against what was kept elsewhere of one of its events."""
    if walk.first_broken or not event_num:
        return walk
    if event_num > walk.last.event_num:
        return _broken(walk.last, walk.events, walk.last.event_num + 1, "is missing: the log was cut short")
    event = db.find_event(connection, event_num)
    if event is not None and event.chain_sha256 != chain_sha256:
        return _broken(walk.last, walk.events, event_num, "is not what it was: it, or one before, was written anew")
    return walk


def remove_old(connection: Connection, kept_days: int) -> int:
    """Remove some of the events of days that are longer ago, and log that; returns how many: call again until it is 0.

    By whole days, so that a log that loses something each day gets one event more a day for it.
    """
    time_ms = (sequence.now_ms() // DAY_MS - kept_days) * DAY_MS
    last = db.last_before(connection, time_ms, REMOVED_AT_ONCE)
    if last is None:
        return 0
    removal = Removal(last.event_num, last.event_time_ms, last.chain_sha256.hex())
    append(connection, RETENTION, [Change(LOG, msgspec.to_builtins(removal), None)])
    return db.delete_through(connection, last.event_num)


def _last_removal(connection: Connection) -> Removal | None:
    event = db.last_by(connection, RETENTION.method, LOG)
    try:
        return msgspec.json.decode(event.before, type=Removal) if event is not None else None
    except msgspec.DecodeError:  # it was changed
        return None


def _broken(last: End, events: int, event_num: int, what: str) -> Walk:
    return Walk(last, events, event_num, f"event {event_num} {what}", is_over=True)
