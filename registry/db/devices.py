"""Devices, their labels and tokens in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from registry.db import sequence
from registry.db.schema import device_labels, device_tokens, device_types, devices
from registry.devices.model import Device, DeviceSpec, State

_gateway = devices.alias("gateway")
_SELECT = (
    select(devices, device_types.c.type_id, func.coalesce(_gateway.c.device_id, "").label("gateway_id"))
    .join(device_types, device_types.c.type_num == devices.c.type_num)
    .outerjoin(_gateway, _gateway.c.device_num == devices.c.gateway_num)
)
_NO_LABELS: dict[str, str] = {}
_labels_decoder = msgspec.json.Decoder(dict[str, str])


class NewDevice(msgspec.Struct, frozen=True):
    """A device that has passed every check."""

    spec: DeviceSpec
    type_num: int
    gateway_num: int
    token_sha256: bytes


class Gateway(msgspec.Struct, frozen=True):
    """What must be known of a device to register others behind it."""

    device_num: int
    is_gateway: bool
    is_active: bool


def insert_devices(connection: Connection, new: Sequence[NewDevice], now_ms: int) -> int:
    """Add devices in the order given; none of the ids may exist. Returns the first number, the others follow."""
    taken = sequence.take(connection, revisions=len(new), devices=len(new))
    first_num, first_revision = taken.device_num - len(new) + 1, taken.revision - len(new) + 1
    rows = [
        _columns(entry.spec, entry.type_num, entry.gateway_num)
        | {
            "device_num": first_num + at,
            "device_id": entry.spec.device_id,
            "state": State.ACTIVE,
            "placed_time_ms": now_ms,
            "revision": first_revision + at,
            "create_time_ms": now_ms,
            "update_time_ms": now_ms,
        }
        for at, entry in enumerate(new)
    ]
    connection.execute(insert(devices), rows)
    _insert_labels(connection, ((first_num + at, entry.spec.labels) for at, entry in enumerate(new)))
    connection.execute(
        insert(device_tokens),
        [
            {"device_num": first_num + at, "token_sha256": entry.token_sha256, "create_time_ms": now_ms}
            for at, entry in enumerate(new)
        ],
    )
    return first_num


def update_device(
    connection: Connection, device_num: int, spec: DeviceSpec, type_num: int, gateway_num: int, now_ms: int
) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(devices).where(devices.c.device_num == device_num)
    connection.execute(change.values(revision=revision, update_time_ms=now_ms, **_columns(spec, type_num, gateway_num)))
    connection.execute(delete(device_labels).where(device_labels.c.device_num == device_num))
    _insert_labels(connection, [(device_num, spec.labels)])


def decommission(connection: Connection, device_num: int, now_ms: int) -> None:
    revision = sequence.take(connection, revisions=1).revision
    change = update(devices).where(devices.c.device_num == device_num)
    connection.execute(
        change.values(state=State.DECOMMISSIONED, external_id=None, revision=revision, update_time_ms=now_ms)
    )
    connection.execute(delete(device_tokens).where(device_tokens.c.device_num == device_num))


def replace_tokens(
    connection: Connection, device_num: int, token_sha256: bytes, now_ms: int, *, keep_newest: bool
) -> None:
    """Make `token_sha256` the device's token, beside the newest one so far if `keep_newest`, else alone."""
    revision = sequence.take(connection, revisions=1).revision
    connection.execute(update(devices).where(devices.c.device_num == device_num).values(revision=revision))
    own = device_tokens.c.device_num == device_num
    newest = select(device_tokens.c.token_sha256).where(own).order_by(device_tokens.c.create_time_ms.desc()).limit(1)
    kept = connection.execute(newest).scalar_one_or_none() if keep_newest else None
    connection.execute(delete(device_tokens).where(own, device_tokens.c.token_sha256 != (kept or b"")))
    if kept != token_sha256:
        connection.execute(
            insert(device_tokens).values(device_num=device_num, token_sha256=token_sha256, create_time_ms=now_ms)
        )


def find_device(connection: Connection, device_id: str) -> Device | None:
    row = connection.execute(_SELECT.where(devices.c.device_id == device_id)).one_or_none()
    return _device(row) if row else None


def find_devices(connection: Connection, device_ids: Iterable[str]) -> dict[str, Device]:
    """Those of the given devices that exist, by id. At most some thousands at once."""
    query = _SELECT.where(devices.c.device_id.in_(list(device_ids)))
    return {row.device_id: _device(row) for row in connection.execute(query)}


def find_gateways(connection: Connection, device_ids: Iterable[str]) -> dict[str, Gateway]:
    """Those of the given devices that exist, as gateways. At most some thousands at once."""
    query = (
        select(devices.c.device_id, devices.c.device_num, device_types.c.is_gateway, devices.c.state == State.ACTIVE)
        .join(device_types, device_types.c.type_num == devices.c.type_num)
        .where(devices.c.device_id.in_(list(device_ids)))
    )
    return {row.device_id: Gateway(*row[1:]) for row in connection.execute(query)}


def external_id_holders(connection: Connection, external_ids: Iterable[str]) -> dict[str, str]:
    """The ids of the devices that have the given external ids, by external id. At most some thousands at once."""
    query = select(devices.c.external_id, devices.c.device_id).where(devices.c.external_id.in_(list(external_ids)))
    return {row.external_id: row.device_id for row in connection.execute(query)}


def list_devices(connection: Connection, filters: dict[str, str], after_num: int, limit: int) -> list[Device]:
    """Devices with a number above `after_num`, in the order of their numbers.

    Args:
        filters: exact matches by field: device_type, external_id, gateway, state, ward_code, labels.KEY.
    """
    query = _SELECT.where(devices.c.device_num > after_num)
    for field, value in filters.items():
        query = _matching(query, field, value)
    return [_device(row) for row in connection.execute(query.order_by(devices.c.device_num).limit(limit))]


def tokens_of(connection: Connection, device_nums: Sequence[int]) -> dict[int, list[bytes]]:
    """SHA-256 of each valid token of each device that has one. At most some thousands of devices at once."""
    query = select(device_tokens.c.device_num, device_tokens.c.token_sha256)
    found: dict[int, list[bytes]] = {}
    for row in connection.execute(query.where(device_tokens.c.device_num.in_(device_nums))):
        found.setdefault(row.device_num, []).append(row.token_sha256)
    return found


def active_behind(connection: Connection, gateway_num: int) -> int:
    """How many active devices are registered behind a gateway."""
    query = select(func.count()).where(devices.c.gateway_num == gateway_num, devices.c.state == State.ACTIVE)
    return connection.execute(query).scalar_one()


def count_by_state(connection: Connection) -> dict[str, int]:
    """Numbers of devices, `active`, `decommissioned` and `deleted`."""
    query = select(devices.c.state, func.count()).group_by(devices.c.state)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    return {state.name.lower(): counts.get(state, 0) for state in State}


def _matching(query: Select[Any], field: str, value: str) -> Select[Any]:
    if field == "device_type":
        return query.where(
            devices.c.type_num
            == select(device_types.c.type_num).where(device_types.c.type_id == value).scalar_subquery()
        )
    if field == "gateway":
        if not value:
            return query.where(devices.c.gateway_num == 0)
        own = devices.alias("filter_gateway")
        return query.where(
            devices.c.gateway_num == select(own.c.device_num).where(own.c.device_id == value).scalar_subquery()
        )
    if field == "state":
        return query.where(devices.c.state == State[value.upper()])
    if field == "external_id":
        return query.where(devices.c.external_id == (value or None))
    if field == "ward_code":
        return query.where(devices.c.ward_code == value)
    label = device_labels.alias()
    key = field.removeprefix("labels.")
    return query.join(
        label, (label.c.device_num == devices.c.device_num) & (label.c.key == key) & (label.c.value == value)
    )


def _columns(spec: DeviceSpec, type_num: int, gateway_num: int) -> dict[str, object]:
    return {
        "type_num": type_num,
        "gateway_num": gateway_num,
        "site_num": 0,
        "is_ward_derived": False,
        "is_place_derived": False,
        "hardware_revision": "",
        "display_name": spec.display_name,
        "ward_code": spec.ward_code,
        "site": spec.site,
        "latitude": spec.latitude,
        "longitude": spec.longitude,
        "external_id": spec.external_id or None,
        "labels": msgspec.json.encode(spec.labels, order="sorted").decode() if spec.labels else "{}",
    }


def _insert_labels(connection: Connection, owners: Iterable[tuple[int, dict[str, str]]]) -> None:
    rows = [
        {"device_num": device_num, "key": key, "value": value}
        for device_num, labels in owners
        for key, value in labels.items()
    ]
    if rows:
        connection.execute(insert(device_labels), rows)


def _device(row: Row[Any]) -> Device:
    return Device(
        device_num=row.device_num,
        spec=DeviceSpec(
            device_id=row.device_id,
            device_type=row.type_id,
            display_name=row.display_name,
            gateway=row.gateway_id,
            ward_code=row.ward_code,
            site=row.site,
            latitude=row.latitude,
            longitude=row.longitude,
            labels=_NO_LABELS if row.labels == "{}" else _labels_decoder.decode(row.labels),
            external_id=row.external_id or "",
        ),
        type_num=row.type_num,
        gateway_num=row.gateway_num,
        state=State(row.state),
        revision=row.revision,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
    )
