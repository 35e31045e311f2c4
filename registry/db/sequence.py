"""Numbers and revisions, taken from the one row that serialises all writes."""

import time

import msgspec
from sqlalchemy import Connection, select, update

from registry.db.schema import registry_state as state

_TAKEN = (
    state.c.revision,
    state.c.last_metric_num,
    state.c.last_type_num,
    state.c.last_device_num,
    state.c.last_site_num,
    state.c.last_group_num,
    state.c.last_operation_num,
)


class Taken(msgspec.Struct, frozen=True):
    """The last of each that was taken; n taken at once are `last - n + 1` to `last`."""

    revision: int
    metric_num: int
    type_num: int
    device_num: int
    site_num: int
    group_num: int
    operation_num: int


class Head(msgspec.Struct, frozen=True):
    registry_id: str
    revision: int


def take(
    connection: Connection,
    *,
    revisions: int = 0,
    metrics: int = 0,
    types: int = 0,
    devices: int = 0,
    sites: int = 0,
    groups: int = 0,
    operations: int = 0,
) -> Taken:
    """Take the next numbers; they count as used once the transaction commits."""
    row = connection.execute(
        update(state)
        .where(state.c.id == 1)
        .values(
            revision=state.c.revision + revisions,
            last_metric_num=state.c.last_metric_num + metrics,
            last_type_num=state.c.last_type_num + types,
            last_device_num=state.c.last_device_num + devices,
            last_site_num=state.c.last_site_num + sites,
            last_group_num=state.c.last_group_num + groups,
            last_operation_num=state.c.last_operation_num + operations,
        )
        .returning(*_TAKEN)
    ).one()
    return Taken(*row)


def lock(connection: Connection) -> int:
    """Become the only writer until the transaction ends; return the revision before it."""
    revision: int = connection.execute(select(state.c.revision).where(state.c.id == 1).with_for_update()).scalar_one()
    return revision


def head(connection: Connection) -> Head:
    """Which registry this is and the newest revision that has been committed."""
    return Head(*connection.execute(select(state.c.registry_id, state.c.revision).where(state.c.id == 1)).one())


def claim_starter_catalogue(connection: Connection) -> bool:
    """True for the first caller in the life of the database."""
    claim = update(state).where(state.c.id == 1, state.c.has_starter_catalogue.is_(False))
    return connection.execute(claim.values(has_starter_catalogue=True)).rowcount == 1


def head_numbers(connection: Connection) -> Taken:
    """The last of each that was taken, without taking any."""
    return Taken(*connection.execute(select(*_TAKEN).where(state.c.id == 1)).one())


def now_ms() -> int:
    """The registry's clock: UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
