"""What the device index of an ingest node holds, read in pieces: by number for a snapshot, by revision for changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from registry.db.devices import tokens_between, tokens_of
from registry.db.schema import devices
from registry.devices.model import State

_COLUMNS = select(
    devices.c.device_num,
    devices.c.device_id,
    devices.c.type_num,
    devices.c.ward_code,
    devices.c.gateway_num,
    (devices.c.state == State.ACTIVE).label("is_active"),
    func.coalesce(devices.c.external_id, "").label("external_id"),
    devices.c.revision,
)


class IndexRow(msgspec.Struct, frozen=True):
    """In the order of _COLUMNS."""

    device_num: int
    device_id: str
    type_num: int
    ward_code: str
    gateway_num: int
    is_active: bool
    external_id: str
    revision: int
    token_sha256: list[bytes]


def rows_by_num(connection: Connection, after_num: int, limit: int) -> list[IndexRow]:
    """Devices with a number above `after_num`, in the order of their numbers."""
    query = _COLUMNS.where(devices.c.device_num > after_num).order_by(devices.c.device_num).limit(limit)
    rows = connection.execute(query).all()
    tokens = tokens_between(connection, rows[0].device_num, rows[-1].device_num) if rows else {}
    return _rows(rows, tokens)


def rows_since(connection: Connection, revision: int, limit: int) -> list[IndexRow]:
    """Devices changed after `revision`, in the order of their change."""
    query = _COLUMNS.where(devices.c.revision > revision).order_by(devices.c.revision).limit(limit)
    rows = connection.execute(query).all()
    return _rows(rows, tokens_of(connection, [row.device_num for row in rows]) if rows else {})


def _rows(rows: Sequence[Any], tokens: Mapping[int, list[bytes]]) -> list[IndexRow]:
    # A million of them in a snapshot: by position, in the order of _COLUMNS.
    return [IndexRow(*(*row, tokens.get(row[0], []))) for row in rows]
