"""Devices: create, update, decommission, rotate the token. Each function runs in one write transaction."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from registry.db import catalogue as db_catalogue
from registry.db import devices as db
from registry.db import sequence
from registry.db.devices import Gateway, NewDevice
from registry.devices import tokens
from registry.devices.catalogue import check_etag
from registry.devices.model import Device, DeviceSpec, DeviceType, State
from registry.devices.rules import check_device
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, PreconditionError, Violation

UPDATABLE = (
    "display_name",
    "device_type",
    "gateway",
    "ward_code",
    "site",
    "latitude",
    "longitude",
    "external_id",
    "labels",
)


class Created(msgspec.Struct, frozen=True):
    """`token` is empty if the caller brought his own, or nothing was created."""

    device: Device
    token: str


def check_references(
    spec: DeviceSpec, types: Mapping[str, DeviceType], gateways: Mapping[str, Gateway]
) -> list[Violation]:
    """What is wrong with the type and the gateway that a device names.

    Args:
        types: by id. gateways: the devices that are named as gateways, by id; a missing one does not exist.
    """
    found: list[Violation] = []
    kind = types.get(spec.device_type)
    if kind is None and spec.device_type:
        text = f"there is no device type `{spec.device_type}`; `cityfleet type list` shows those there are"
        found.append(Violation("device_type", "DEVICE_TYPE_UNKNOWN", text))
    if not spec.gateway or spec.gateway == spec.device_id:
        return found
    gateway = gateways.get(spec.gateway)
    if gateway is None:
        text = f"there is no device `{spec.gateway}`; create the gateway first"
        found.append(Violation("gateway", "GATEWAY_UNKNOWN", text))
    elif not gateway.is_gateway:
        text = f"`{spec.gateway}` is a device, but its type is not a gateway's (is_gateway)"
        found.append(Violation("gateway", "NOT_A_GATEWAY", text))
    elif not gateway.is_active:
        text = f"the gateway `{spec.gateway}` is decommissioned; name another one"
        found.append(Violation("gateway", "GATEWAY_DECOMMISSIONED", text))
    if kind is not None and kind.spec.is_gateway:
        text = "a gateway cannot be registered behind another gateway; leave it empty"
        found.append(Violation("gateway", "GATEWAY_BEHIND_GATEWAY", text))
    return found


def create_device(connection: Connection, spec: DeviceSpec, token: str, validate_only: bool) -> Created:
    """Args: token: the device's own; empty: make one.

    Raises: InvalidError, AlreadyExistsError.
    """
    found = check_device(spec) + (tokens.check_token(token) if token else [])
    types, gateways = _world(connection, spec)
    found += check_references(spec, types, gateways) + _check_external_id_free(connection, spec)
    if found:
        raise InvalidError(found)
    if db.find_device(connection, spec.device_id):
        raise AlreadyExistsError(
            f"the device {spec.device_id} exists; ids are never used again, choose another or update it",
            metadata={"device": spec.device_id},
        )
    type_num = types[spec.device_type].type_num
    gateway_num = gateways[spec.gateway].device_num if spec.gateway else 0
    now_ms = sequence.now_ms()
    if validate_only:
        return Created(Device(0, spec, type_num, gateway_num, State.ACTIVE, 0, now_ms, now_ms), "")
    made = "" if token else tokens.new_token()
    new = NewDevice(spec, type_num, gateway_num, tokens.digest(token or made))
    db.insert_devices(connection, [new], now_ms)
    return Created(get_device(connection, spec.device_id), made)


def get_device(connection: Connection, device_id: str) -> Device:
    """Raises: NotFoundError."""
    device = db.find_device(connection, device_id)
    if device is None:
        text = f"there is no device {device_id}; `cityfleet device list` shows those there are"
        raise NotFoundError(text, reason="DEVICE_NOT_FOUND", metadata={"device": device_id})
    return device


def update_device(
    connection: Connection, given: DeviceSpec, fields: frozenset[str], label_keys: frozenset[str], given_etag: str
) -> Device:
    """Take the named fields from `given`.

    Args:
        fields: of UPDATABLE.
        label_keys: single labels to set, or to remove where `given` has none.
    Raises: InvalidError, NotFoundError, EtagMismatchError, PreconditionError.
    """
    device = get_device(connection, given.device_id)
    check_etag(f"devices/{given.device_id}", given_etag, device.revision)
    spec, type_num, gateway_num = check_update(connection, device, given, fields, label_keys)
    if spec == device.spec:
        return device
    db.update_device(connection, device.device_num, spec, type_num, gateway_num, sequence.now_ms())
    return get_device(connection, given.device_id)


def check_update(
    connection: Connection, device: Device, given: DeviceSpec, fields: frozenset[str], label_keys: frozenset[str]
) -> tuple[DeviceSpec, int, int]:
    """What update_device would make of it: the specification, and the numbers of its type and gateway.

    Raises: InvalidError, PreconditionError.
    """
    spec = msgspec.structs.replace(device.spec, **{name: getattr(given, name) for name in fields})
    if label_keys:
        labels = {key: value for key, value in spec.labels.items() if key not in label_keys}
        labels |= {key: value for key, value in given.labels.items() if key in label_keys}
        spec = msgspec.structs.replace(spec, labels=labels)
    if spec == device.spec:
        return spec, device.type_num, device.gateway_num
    if not device.is_active:
        raise PreconditionError(
            f"{given.device_id} is decommissioned and stays as it is; register the new device under a new id",
            reason="DEVICE_DECOMMISSIONED",
            metadata={"device": given.device_id},
        )
    types, gateways = _world(connection, spec)
    found = check_device(spec)
    if (spec.device_type, spec.gateway) != (device.spec.device_type, device.spec.gateway):
        found += check_references(spec, types, gateways)
    if spec.external_id != device.spec.external_id:
        found += _check_external_id_free(connection, spec)
    if found:
        raise InvalidError(found)
    kind = types[spec.device_type]
    if not kind.spec.is_gateway:
        _check_nobody_behind(connection, device, "cannot stop being a gateway")
    return spec, kind.type_num, gateways[spec.gateway].device_num if spec.gateway else 0


def decommission_device(connection: Connection, device_id: str, given_etag: str) -> Device:
    """Raises: NotFoundError, EtagMismatchError, PreconditionError."""
    device = get_device(connection, device_id)
    check_etag(f"devices/{device_id}", given_etag, device.revision)
    if not device.is_active:
        return device
    _check_nobody_behind(connection, device, "cannot be decommissioned")
    db.decommission(connection, device.device_num, sequence.now_ms())
    return get_device(connection, device_id)


def rotate_token(connection: Connection, device_id: str, token: str, keep_previous: bool) -> Created:
    """Raises: InvalidError, NotFoundError, PreconditionError."""
    if token and (found := tokens.check_token(token)):
        raise InvalidError(found)
    device = get_device(connection, device_id)
    if not device.is_active:
        raise PreconditionError(
            f"{device_id} is decommissioned and gets no token",
            reason="DEVICE_DECOMMISSIONED",
            metadata={"device": device_id},
        )
    made = "" if token else tokens.new_token()
    digest = tokens.digest(token or made)
    db.replace_tokens(connection, device.device_num, digest, sequence.now_ms(), keep_newest=keep_previous)
    return Created(get_device(connection, device_id), made)


def external_id_taken(external_id: str, holder: str) -> Violation:
    text = f'`{external_id}` is the external id of {holder}; take it from there first (--external-id "")'
    return Violation("external_id", "EXTERNAL_ID_TAKEN", text)


def _check_external_id_free(connection: Connection, spec: DeviceSpec) -> list[Violation]:
    if not spec.external_id:
        return []
    holder = db.external_id_holders(connection, [spec.external_id]).get(spec.external_id, spec.device_id)
    return [] if holder == spec.device_id else [external_id_taken(spec.external_id, holder)]


def _world(connection: Connection, spec: DeviceSpec) -> tuple[dict[str, DeviceType], dict[str, Gateway]]:
    kind = db_catalogue.find_type(connection, spec.device_type)
    gateways = db.find_gateways(connection, [spec.gateway]) if spec.gateway else {}
    return {spec.device_type: kind} if kind else {}, gateways


def _check_nobody_behind(connection: Connection, device: Device, what: str) -> None:
    if count := db.active_behind(connection, device.device_num):
        raise PreconditionError(
            f"{device.spec.device_id} {what} while {count} active devices are registered behind it; move them to "
            "another gateway or decommission them first",
            reason="GATEWAY_IN_USE",
            metadata={"device": device.spec.device_id, "devices_behind": str(count)},
        )
