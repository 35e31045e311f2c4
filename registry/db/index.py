"""What the device index of an ingest node holds, read in pieces: by number for a snapshot, by revision for changes."""

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import BigInteger, Connection, Integer, Row, String, cast, func, literal, null, select, union_all

from registry.db.schema import device_tokens, devices, purged_devices
from registry.devices.model import State

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
_PURGED = (
    purged_devices.c.device_num,
    purged_devices.c.device_id,
    purged_devices.c.type_num,
    purged_devices.c.ward_code,
    literal(0, BigInteger()).label("gateway_num"),
    literal(int(State.DELETED), Integer()).label("state"),
    cast(null(), String()).label("external_id"),
    purged_devices.c.revision,
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
    """At most `limit` devices changed or purged after `revision`, in the order of their change."""
    parts = []
    for columns, own in ((_DEVICES, devices.c.revision), (_PURGED, purged_devices.c.revision)):
        parts.append(select(*columns).where(own > revision).order_by(own).limit(limit).subquery().select())
    both = union_all(*parts).subquery()
    changed = select(both).order_by(both.c.revision).limit(limit).subquery()
    return connection.execute(
        select(changed, device_tokens.c.token_sha256)
        .outerjoin(device_tokens, device_tokens.c.device_num == changed.c.device_num)
        .order_by(changed.c.revision)
    ).all()
