"""What the device index of an ingest node holds, read in pieces: by number for a snapshot, by revision for changes."""

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import Connection, Row, func, select

from registry.db.schema import device_tokens, devices

_DEVICES = (
    devices.c.device_num,
    devices.c.device_id,
    devices.c.type_num,
    devices.c.ward_code,
    devices.c.gateway_num,
    devices.c.state,
    devices.c.external_id,
    devices.c.revision,
)
# A device's columns in the order of _DEVICES, then one of its tokens or None: as many rows one after the other as the
# device has tokens. A million of them in a snapshot, so they stay as they come.
IndexRow: TypeAlias = Row[int, str, int, str, int, int, str | None, int, bytes | None]


def rows_by_num(connection: Connection, after_num: int, numbers: int) -> Sequence[IndexRow]:
    """Devices with a number above `after_num`, in the order of their numbers: those of `numbers` numbers in a row,
    beginning with the first that is taken. Empty: there are no more."""
    first = connection.execute(select(func.min(devices.c.device_num)).where(devices.c.device_num > after_num)).scalar()
    if first is None:
        return []
    # A range, not a limit: a limit would count tokens, and cut a device's tokens apart.
    return connection.execute(
        select(*_DEVICES, device_tokens.c.token_sha256)
        .outerjoin(device_tokens, device_tokens.c.device_num == devices.c.device_num)
        .where(devices.c.device_num.between(first, first + numbers - 1))
        .order_by(devices.c.device_num)
    ).all()


def rows_since(connection: Connection, revision: int, limit: int) -> Sequence[IndexRow]:
    """At most `limit` devices changed after `revision`, in the order of their change."""
    changed = (
        select(*_DEVICES).where(devices.c.revision > revision).order_by(devices.c.revision).limit(limit).subquery()
    )
    return connection.execute(
        select(changed, device_tokens.c.token_sha256)
        .outerjoin(device_tokens, device_tokens.c.device_num == changed.c.device_num)
        .order_by(changed.c.revision)
    ).all()
