"""The end of devices in SQL: decommissioned, deleted, undeleted, purged."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, null, select, update

from registry.db import label_keys, sequence
from registry.db.bulk import among, placed
from registry.db.schema import (
    device_connections,
    device_labels,
    device_state,
    device_state_documents,
    device_tokens,
    devices,
    group_members,
    purged_devices,
    unheard_devices,
)
from registry.devices.model import Device, State


def end_devices(
    connection: Connection, ended: Sequence[Device], state: State, now_ms: int, purge_time_ms: int | None
) -> None:
    """Take the credentials and external ids of devices away, and bring them to a state other than ACTIVE.

    Args: purge_time_ms: with DELETED.
    """
    if not ended:
        return
    is_deleted = state == State.DELETED
    first = sequence.take(connection, revisions=len(ended)).revision - len(ended) + 1
    device_nums = [device.device_num for device in ended]
    device_num, position = placed(connection, device_nums)
    change = update(devices).where(devices.c.device_num == device_num)
    connection.execute(
        change.values(
            state=state,
            deleted_state=devices.c.state if is_deleted else None,
            external_id=null(),
            revision=position + first,
            update_time_ms=now_ms,
            delete_time_ms=now_ms if is_deleted else None,
            purge_time_ms=purge_time_ms,
        )
    )
    connection.execute(delete(device_tokens).where(among(connection, device_tokens.c.device_num, device_nums)))


def undelete_device(connection: Connection, device_num: int, now_ms: int) -> None:
    """Bring a device back to the state in which it was deleted, without its credentials."""
    revision = sequence.take(connection, revisions=1).revision
    change = update(devices).where(devices.c.device_num == device_num)
    connection.execute(
        change.values(
            state=devices.c.deleted_state,
            deleted_state=None,
            delete_time_ms=None,
            purge_time_ms=None,
            revision=revision,
            update_time_ms=now_ms,
        )
    )


def due_for_purge(connection: Connection, now_ms: int, limit: int) -> list[int]:
    """Numbers of devices whose time is over."""
    query = select(devices.c.device_num).where(devices.c.purge_time_ms <= now_ms).limit(limit)
    return list(connection.execute(query).scalars())


def purge_devices(connection: Connection, device_nums: Sequence[int], now_ms: int) -> list[str]:
    """Remove devices, but for their history; ids and numbers stay taken. Returns: their ids."""
    if not device_nums:
        return []
    kept = ("device_num", "device_id", "type_num", "ward_code", "create_time_ms")
    rows = connection.execute(
        select(*(devices.c[name] for name in kept))
        .where(devices.c.device_num.in_(device_nums))
        .order_by(devices.c.device_num)
    )
    gone = [dict(row) | {"purge_time_ms": now_ms} for row in rows.mappings()]
    first = sequence.take(connection, revisions=len(gone)).revision - len(gone) + 1
    connection.execute(insert(purged_devices), [row | {"revision": first + at} for at, row in enumerate(gone)])
    label_keys.note_purged(connection, [row["device_num"] for row in gone])
    for table in (
        device_labels,
        device_tokens,
        device_state,
        unheard_devices,
        device_connections,
        device_state_documents,
        group_members,
        devices,
    ):
        connection.execute(delete(table).where(table.c.device_num.in_(device_nums)))
    return [row["device_id"] for row in gone]
