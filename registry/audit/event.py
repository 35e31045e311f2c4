"""One event of the audit log, and how it is chained to the one before."""

import hashlib

import msgspec

OK = "OK"


class Origin(msgspec.Struct, frozen=True):
    """Who does something, by which method, from where.

    `actor`: `accounts/{account_id}` or `internal`. `method`: the full gRPC method; of a job of the registry, its name.
    """

    actor: str
    method: str
    peer: str = ""
    request_id: str = ""


class Event(msgspec.Struct, frozen=True):
    """`before` and `after` are JSON, empty: there was nothing; `result` is OK, or code and reason of a refusal."""

    event_num: int
    event_time_ms: int
    origin: Origin
    resource: str
    before: str
    after: str
    result: str
    chain_sha256: bytes = b""


class End(msgspec.Struct, frozen=True):
    """The last event of a chain so far; `event_num` 0: there is none yet."""

    event_num: int
    event_time_ms: int
    chain_sha256: bytes


def beginning(registry_id: str) -> End:
    """What the first event of a registry follows from: logs of two registries have no part in common."""
    return End(0, 0, hashlib.sha256(f"cityfleet audit log of {registry_id}".encode()).digest())


def chained(before: bytes, event: Event) -> bytes:
    """SHA-256 of the value of the event before and this event's fields as a compact JSON array (docs/audit.md)."""
    origin = event.origin
    return chained_fields(
        before,
        event.event_num,
        event.event_time_ms,
        origin.actor,
        origin.peer,
        origin.method,
        origin.request_id,
        event.resource,
        event.before,
        event.after,
        event.result,
    )


def chained_fields(before: bytes, *fields: int | str) -> bytes:
    """As chained. Args: fields: from the number to the result, in the order of docs/audit.md."""
    return hashlib.sha256(before + msgspec.json.encode(fields)).digest()
