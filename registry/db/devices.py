"""Devices, their labels and tokens in SQL."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Text, bindparam, delete, exists, func, insert, select, update

from registry.db import label_keys, placements, sequence, unheard
from registry.db.bulk import among, insert_rows
from registry.db.prepared import PlainRow
from registry.db.schema import device_labels, device_tokens, device_types, devices, purged_devices, sites
from registry.devices.model import Device, DeviceSpec, Placed, State

GATEWAY = devices.alias("gateway")
SELECT = (
    select(
        devices,
        device_types.c.type_id,
        func.coalesce(GATEWAY.c.device_id, "").label("gateway_id"),
        func.coalesce(sites.c.site_id, "").label("site_id"),
    )
    .join(device_types, device_types.c.type_num == devices.c.type_num)
    .outerjoin(GATEWAY, GATEWAY.c.device_num == devices.c.gateway_num)
    .outerjoin(sites, sites.c.site_num == devices.c.site_num)
)
# Made once: to put such a statement together takes longer than to run it.
_BY_ID = SELECT.where(devices.c.device_id == bindparam("device_id", type_=Text()))
_NO_LABELS: dict[str, str] = {}
_labels_decoder = msgspec.json.Decoder(dict[str, str])
_labels_encoder = msgspec.json.Encoder(order="sorted")
# What is set when a device is created, and what a change of it writes again.
_OWN_COLUMNS = ("device_num", "device_id", "state", "placed_time_ms", "revision", "create_time_ms", "update_time_ms")
_COLUMNS = (
    "type_num",
    "gateway_num",
    "site_num",
    "display_name",
    "ward_code",
    "is_ward_derived",
    "site",
    "latitude",
    "longitude",
    "is_place_derived",
    "hardware_revision",
    "external_id",
    "labels",
)
_LABEL_COLUMNS = ("device_num", "key", "value")
_TOKEN_COLUMNS = ("device_num", "token_sha256", "create_time_ms")
# Drivers are slow with an enumeration.
_ACTIVE = int(State.ACTIVE)


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A specification that has passed every check, with the numbers of what it names. Numbers are 0 for none."""

    spec: DeviceSpec
    type_num: int
    gateway_num: int
    site_num: int
    placed: Placed


class NewDevice(msgspec.Struct, frozen=True, gc=False):
    resolved: Resolved
    token_sha256: bytes


class Gateway(msgspec.Struct, frozen=True, gc=False):
    """What must be known of a device to register others behind it."""

    device_num: int
    is_gateway: bool
    is_active: bool


def insert_devices(connection: Connection, new: Sequence[NewDevice], now_ms: int) -> int:
    """Add devices in the order given; none of the ids may exist. Returns the first number, the others follow."""
    taken = sequence.take(connection, revisions=len(new), devices=len(new))
    first_num, first_revision = taken.device_num - len(new) + 1, taken.revision - len(new) + 1
    rows = [
        (
            first_num + at,
            entry.resolved.spec.device_id,
            _ACTIVE,
            now_ms,
            first_revision + at,
            now_ms,
            now_ms,
            *_values(entry.resolved),
        )
        for at, entry in enumerate(new)
    ]
    insert_rows(connection, devices, (*_OWN_COLUMNS, *_COLUMNS), rows)
    _insert_labels(connection, ((first_num + at, entry.resolved.spec.labels) for at, entry in enumerate(new)))
    label_keys.note_new(connection, (entry.resolved.spec.labels for entry in new))
    unheard.note_new(connection, [(first_num + at, entry.resolved.type_num) for at, entry in enumerate(new)])
    held = [(first_num + at, entry.token_sha256, now_ms) for at, entry in enumerate(new)]
    insert_rows(connection, device_tokens, _TOKEN_COLUMNS, held)
    return first_num


def update_devices(connection: Connection, changes: Sequence[tuple[Device, Resolved]], now_ms: int) -> None:
    """Bring devices to new specifications; where one was before it moved stays in its history."""
    first = sequence.take(connection, revisions=len(changes)).revision - len(changes) + 1
    rows: list[dict[str, Any]] = [
        dict(zip(_COLUMNS, _values(new), strict=True))
        | {"num": old.device_num, "revision": first + at, "update_time_ms": now_ms}
        for at, (old, new) in enumerate(changes)
    ]
    moved = []
    for row, (old, new) in zip(rows, changes, strict=True):
        is_moved = whereabouts(old) != (new.gateway_num, new.site_num, new.placed)
        row["placed_time_ms"] = now_ms if is_moved else old.placed_time_ms
        if is_moved:
            moved.append((old, row["revision"]))
    if not rows:
        return
    names = [name for name in rows[0] if name != "num"]
    change = update(devices).where(devices.c.device_num == bindparam("num"))
    connection.execute(change.values({name: bindparam(name) for name in names}), rows)
    placements.end_placements(connection, moved, now_ms)
    unheard.note_types(
        connection, [(old.device_num, new.type_num) for old, new in changes if new.type_num != old.type_num]
    )
    relabelled = [(old.device_num, new.spec.labels) for old, new in changes if old.spec.labels != new.spec.labels]
    if relabelled:
        connection.execute(
            delete(device_labels).where(device_labels.c.device_num == bindparam("num")),
            [{"num": device_num} for device_num, _ in relabelled],
        )
        _insert_labels(connection, relabelled)
        label_keys.note_changed(connection, ((old.spec.labels, new.spec.labels) for old, new in changes))


def whereabouts(device: Device) -> tuple[int, int, Placed]:
    """What a placement is made of."""
    return device.gateway_num, device.site_num, device.placed


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


def replace_all_tokens(connection: Connection, new: Sequence[tuple[int, bytes]], now_ms: int) -> None:
    """Give devices new tokens instead of all they had; whoever changes the devices takes their revisions.

    Args: new: (device_num, SHA-256 of the token), each device once.
    """
    if new:
        own = device_tokens.c.device_num == bindparam("num")
        connection.execute(delete(device_tokens).where(own), [{"num": device_num} for device_num, _ in new])
        insert_rows(connection, device_tokens, _TOKEN_COLUMNS, [(*each, now_ms) for each in new])


def find_device(connection: Connection, device_id: str) -> Device | None:
    row = connection.execute(_BY_ID, {"device_id": device_id}).one_or_none()
    return device_of(row) if row else None


def find_devices(connection: Connection, device_ids: Iterable[str]) -> dict[str, Device]:
    """Those of the given devices that exist, by id. At most some thousands at once."""
    device_ids = list(device_ids)
    if len(device_ids) == 1:
        device = find_device(connection, device_ids[0])
        return {} if device is None else {device.spec.device_id: device}
    query = SELECT.where(among(connection, devices.c.device_id, device_ids))
    return {row.device_id: device_of(row) for row in connection.execute(query)}


def places_of(connection: Connection, device_ids: Iterable[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Ward and labels of those of the given devices that exist, by id. At most some thousands at once."""
    if not (wanted := list(device_ids)):
        return {}
    query = select(devices.c.device_id, devices.c.ward_code, devices.c.labels).where(devices.c.device_id.in_(wanted))
    return {row.device_id: (row.ward_code, _labels_decoder.decode(row.labels)) for row in connection.execute(query)}


_ANY_PURGED = select(exists(select(purged_devices.c.device_num)))


def purged_ids(connection: Connection, device_ids: Iterable[str]) -> set[str]:
    """Those of the given ids that a purged device had. At most some thousands at once."""
    if not connection.execute(_ANY_PURGED).scalar_one():
        return set()
    query = select(purged_devices.c.device_id).where(among(connection, purged_devices.c.device_id, device_ids))
    return set(connection.execute(query).scalars())


def find_gateways(connection: Connection, device_ids: Iterable[str]) -> dict[str, Gateway]:
    """Those of the given devices that exist, as gateways. At most some thousands at once."""
    query = (
        select(devices.c.device_id, devices.c.device_num, device_types.c.is_gateway, devices.c.state == State.ACTIVE)
        .join(device_types, device_types.c.type_num == devices.c.type_num)
        .where(among(connection, devices.c.device_id, device_ids))
    )
    return {row.device_id: Gateway(*row[1:]) for row in connection.execute(query)}


def external_id_holders(connection: Connection, external_ids: Iterable[str]) -> dict[str, str]:
    """The ids of the devices that have the given external ids, by external id. At most some thousands at once."""
    query = select(devices.c.external_id, devices.c.device_id).where(
        among(connection, devices.c.external_id, external_ids)
    )
    return {row.external_id: row.device_id for row in connection.execute(query)}


def devices_by_num(connection: Connection, device_nums: Sequence[int]) -> dict[int, Device]:
    """Those of the given devices that exist, by number. At most some thousands at once."""
    query = SELECT.where(among(connection, devices.c.device_num, device_nums))
    return {row.device_num: device_of(row) for row in connection.execute(query)}


def devices_at_site(connection: Connection, site_num: int, after_num: int, limit: int) -> list[Device]:
    """Devices of every state with a number above `after_num`, in the order of their numbers."""
    query = SELECT.where(devices.c.site_num == site_num, devices.c.device_num > after_num)
    return [device_of(row) for row in connection.execute(query.order_by(devices.c.device_num).limit(limit))]


def devices_with_derived_ward(connection: Connection, after_num: int, limit: int) -> list[Device]:
    """Devices of every state with a number above `after_num`, in the order of their numbers."""
    query = SELECT.where(devices.c.is_ward_derived, devices.c.device_num > after_num)
    return [device_of(row) for row in connection.execute(query.order_by(devices.c.device_num).limit(limit))]


def tokens_of(connection: Connection, device_nums: Sequence[int]) -> dict[int, list[bytes]]:
    """SHA-256 of each valid token of each device that has one. At most some thousands of devices at once."""
    query = select(device_tokens.c.device_num, device_tokens.c.token_sha256)
    found: dict[int, list[bytes]] = {}
    for row in connection.execute(query.where(among(connection, device_tokens.c.device_num, device_nums))):
        found.setdefault(row.device_num, []).append(row.token_sha256)
    return found


def active_behind(connection: Connection, gateway_nums: Sequence[int]) -> dict[int, int]:
    """How many active devices are registered behind each of the given gateways that has any. At most some thousands."""
    query = select(devices.c.gateway_num, func.count()).group_by(devices.c.gateway_num)
    query = query.where(devices.c.gateway_num.in_(gateway_nums), devices.c.state == State.ACTIVE)
    return {row[0]: row[1] for row in connection.execute(query)}


def count_by_state(connection: Connection) -> dict[str, int]:
    """Numbers of devices, `active`, `decommissioned` and `deleted`. Most are active, and are what is left when the
    others are counted."""
    others = [state for state in State if state is not State.ACTIVE]
    query = select(devices.c.state, func.count()).where(devices.c.state.in_(others)).group_by(devices.c.state)
    counts = {row[0]: row[1] for row in connection.execute(query)}
    counts[State.ACTIVE] = label_keys.all_devices(connection) - sum(counts.values())
    return {state.name.lower(): counts.get(state, 0) for state in State}


def _values(resolved: Resolved) -> tuple[Any, ...]:
    """In the order of _COLUMNS."""
    spec, placed = resolved.spec, resolved.placed
    return (
        resolved.type_num,
        resolved.gateway_num,
        resolved.site_num,
        spec.display_name,
        placed.ward_code,
        int(placed.is_ward_derived),
        spec.site,
        placed.latitude,
        placed.longitude,
        int(placed.is_place_derived),
        spec.hardware_revision,
        spec.external_id or None,
        _labels_encoder.encode(spec.labels).decode() if spec.labels else "{}",
    )


def _insert_labels(connection: Connection, owners: Iterable[tuple[int, dict[str, str]]]) -> None:
    rows = [(device_num, key, value) for device_num, labels in owners for key, value in labels.items()]
    insert_rows(connection, device_labels, _LABEL_COLUMNS, rows)


_NAMES = (
    *("device_num", "device_id", "type_num", "gateway_num", "display_name", "site_num", "ward_code"),
    *("is_ward_derived", "site", "latitude", "longitude", "is_place_derived", "placed_time_ms", "hardware_revision"),
    *("labels", "external_id", "state", "revision", "create_time_ms", "update_time_ms", "delete_time_ms"),
    *("purge_time_ms", "type_id", "gateway_id", "site_id"),
)
_taken = itemgetter(*([column.name for column in SELECT.selected_columns].index(name) for name in _NAMES))


def device_of(row: Row[Any] | PlainRow) -> Device:
    """Args: row: of SELECT, perhaps with more behind."""
    # By their places, in the order of _NAMES: by name it takes twice as long, and lists do little else.
    # fmt: off
    (
        device_num, device_id, type_num, gateway_num, display_name, site_num, ward_code,
        is_ward_derived, site, latitude, longitude, is_place_derived, placed_time_ms, hardware_revision,
        labels, external_id, state, revision, create_time_ms, update_time_ms, delete_time_ms,
        purge_time_ms, type_id, gateway_id, site_id,
    ) = _taken(row)
    # fmt: on
    return Device(
        device_num=device_num,
        spec=DeviceSpec(
            device_id=device_id,
            device_type=type_id,
            display_name=display_name,
            gateway=gateway_id,
            ward_code="" if is_ward_derived else ward_code,
            site=site,
            latitude=None if is_place_derived else latitude,
            longitude=None if is_place_derived else longitude,
            labels=_NO_LABELS if labels == "{}" else _labels_decoder.decode(labels),
            external_id=external_id or "",
            site_id=site_id,
            hardware_revision=hardware_revision,
        ),
        type_num=type_num,
        gateway_num=gateway_num,
        site_num=site_num,
        placed=Placed(ward_code, bool(is_ward_derived), latitude, longitude, bool(is_place_derived)),
        placed_time_ms=placed_time_ms,
        state=State(state),
        revision=revision,
        create_time_ms=create_time_ms,
        update_time_ms=update_time_ms,
        delete_time_ms=delete_time_ms,
        purge_time_ms=purge_time_ms,
    )
