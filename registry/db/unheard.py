"""Devices that were never heard are kept apart: to find them by what is not there takes longer than a page."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, update

from registry.db.bulk import insert_rows
from registry.db.schema import device_state, unheard_devices


def note_new(connection: Connection, devices: Sequence[tuple[int, int]]) -> None:
    """Args: devices: their numbers and those of their types."""
    insert_rows(connection, unheard_devices, ("device_num", "type_num"), devices)


def note_types(connection: Connection, devices: Sequence[tuple[int, int]]) -> None:
    """Note other types of devices, heard or not."""
    if not devices:
        return
    rows = [{"num": device_num, "kind": type_num} for device_num, type_num in devices]
    for table in (device_state, unheard_devices):
        change = update(table).where(table.c.device_num == bindparam("num"))
        connection.execute(change.values(type_num=bindparam("kind")), rows)
