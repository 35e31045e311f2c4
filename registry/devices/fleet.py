"""Devices: create, update, rotate the token; one or many at once, all or none. Each function runs in one write
transaction."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.caller import scope
from registry.access.within import check_change, hidden_devices
from registry.audit.record import changed
from registry.db import devices as db
from registry.db import sequence
from registry.db.devices import Gateway, NewDevice, Resolved
from registry.devices import tokens
from registry.devices.catalogue import check_etag
from registry.devices.counted import behind, in_use
from registry.devices.model import Device, DeviceSpec, State
from registry.devices.placements import placed
from registry.devices.references import World, check_references, gather, resolve
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
    "site_id",
    "hardware_revision",
)


class Creation(msgspec.Struct, frozen=True):
    """`token`: the device's own; empty: make one."""

    spec: DeviceSpec
    token: str = ""


class Created(msgspec.Struct, frozen=True):
    """`token` is empty if the caller brought his own."""

    device: Device
    token: str


class Change(msgspec.Struct, frozen=True):
    """Take the named fields from `given`.

    `fields` are of UPDATABLE; `label_keys` are single labels to set, or to remove where `given` has none. With
    `allow_missing` a device that does not exist is created as `given`.
    """

    given: DeviceSpec
    fields: frozenset[str]
    label_keys: frozenset[str] = frozenset()
    etag: str = ""
    allow_missing: bool = False


def create_device(connection: Connection, spec: DeviceSpec, token: str) -> Created:
    """Args: token: the device's own; empty: make one.

    Raises: InvalidError, AlreadyExistsError.
    """
    return _create(connection, [Creation(spec, token)], [""])[0]


def create_devices(connection: Connection, requests: Sequence[Creation]) -> list[Created]:
    """All or none, in the order given; a gateway may come with the devices behind it.

    Raises: InvalidError, whose fields begin with `requests[0].`; AlreadyExistsError.
    """
    return _create(connection, requests, prefixes_of(requests))


def get_device(connection: Connection, device_id: str) -> Device:
    """Raises: NotFoundError."""
    return get_devices(connection, [device_id])[0]


def get_devices(connection: Connection, device_ids: Sequence[str]) -> list[Device]:
    """In the order given; at most some thousands. Raises: NotFoundError."""
    found = db.find_devices(connection, device_ids)
    for device_id in device_ids:
        if device_id not in found:
            raise not_there(device_id)
    return [found[device_id] for device_id in device_ids]


def not_there(device_id: str) -> NotFoundError:
    text = f"there is no device {device_id}; `cityfleet device list` shows those there are"
    return NotFoundError(text, reason="DEVICE_NOT_FOUND", metadata={"device": device_id})


def update_device(connection: Connection, change: Change) -> Device:
    """Raises: InvalidError, NotFoundError, EtagMismatchError, PreconditionError."""
    return _update(connection, [change], [""])[0]


def update_devices(connection: Connection, changes: Sequence[Change]) -> list[Device]:
    """All or none, in the order given, each device once; at most some thousands.

    Raises: as update_device; fields of an InvalidError begin with `requests[0].`.
    """
    return _update(connection, changes, prefixes_of(changes))


def rotate_token(connection: Connection, device_id: str, token: str, keep_previous: bool) -> Created:
    """Raises: InvalidError, NotFoundError, PreconditionError."""
    if token and (found := tokens.check_token(token)):
        raise InvalidError(found)
    device = get_device(connection, device_id)
    if not device.is_active:
        raise PreconditionError(
            f"{device_id} is {device.state.name.lower()} and gets no token",
            reason=f"DEVICE_{device.state.name}",
            metadata={"device": device_id},
        )
    made = "" if token else tokens.new_token()
    digest = tokens.digest(token or made)
    db.replace_tokens(connection, device.device_num, digest, sequence.now_ms(), keep_newest=keep_previous)
    place = {"ward_code": device.placed.ward_code, "labels": device.spec.labels}
    changed(f"devices/{device_id}", place, place | {"token": "rotated", "keep_previous": keep_previous})
    return Created(get_device(connection, device_id), made)


def check_nobody_behind(connection: Connection, device: Device, what: str) -> None:
    """Raises: PreconditionError."""
    found = behind(connection, [device.device_num])
    if found:
        raise gateway_in_use(device, found[device.device_num], what)


def gateway_in_use(device: Device, count: int, what: str) -> PreconditionError:
    """Args: count: of registry.devices.counted.behind."""
    device_id = device.spec.device_id
    says, counted = in_use(device_id, what, "are registered behind it", count, "devices_behind")
    return PreconditionError(
        f"{says}; move them to another gateway or decommission them first",
        reason="GATEWAY_IN_USE",
        metadata={"device": device_id, **counted},
    )


def note(before: Device | None, after: Device | None) -> None:
    """Note a change of a device for the audit."""
    device = after or before
    assert device is not None
    changed(f"devices/{device.spec.device_id}", _noted(before), _noted(after))


def _noted(device: Device | None) -> dict[str, object] | None:
    if device is None:
        return None
    spec = msgspec.structs.asdict(device.spec)
    return spec | {"ward_code": device.placed.ward_code, "state": device.state.name.lower()}


def _create(connection: Connection, requests: Sequence[Creation], prefixes: Sequence[str]) -> list[Created]:
    """Args: prefixes: what goes before the fields of the violations of each request."""
    specs = [request.spec for request in requests]
    world = gather(connection, specs)
    found = given_twice("device_id", (spec.device_id for spec in specs), prefixes)
    found += given_twice("external_id", (spec.external_id for spec in specs), prefixes)
    kinds = [world.types.get(spec.device_type) for spec in specs]
    are_gateways = [kind is not None and kind.spec.is_gateway for kind in kinds]
    coming = {spec.device_id: Gateway(0, is_one, True) for spec, is_one in zip(specs, are_gateways, strict=True)}
    planned = msgspec.structs.replace(world, gateways={**coming, **world.gateways})
    for at, request in enumerate(requests):
        own = check_device(request.spec) + (tokens.check_token(request.token) if request.token else [])
        found += _below(prefixes[at], own + check_references(request.spec, planned))
    if found:
        raise InvalidError(found)
    _check_new(connection, [spec.device_id for spec in specs])
    now_ms = sequence.now_ms()
    made = ["" if request.token else tokens.new_token() for request in requests]
    for turn in (True, False):
        part = [at for at, is_gateway in enumerate(are_gateways) if is_gateway is turn]
        if not turn and any(are_gateways):
            world = gather(connection, (specs[at] for at in part))  # the gateways have numbers now
        new = [NewDevice(resolve(specs[at], world), tokens.digest(requests[at].token or made[at])) for at in part]
        if new:
            db.insert_devices(connection, new, now_ms)
    devices = get_devices(connection, [spec.device_id for spec in specs])
    for device in devices:
        note(None, device)
    return [Created(device, token) for device, token in zip(devices, made, strict=True)]


def _check_new(connection: Connection, device_ids: Sequence[str]) -> None:
    """Raises: AlreadyExistsError."""
    known = set(db.find_devices(connection, device_ids))
    hidden = hidden_devices(connection, known)
    if taken := known - hidden:
        device_id = min(taken)
        raise AlreadyExistsError(
            f"the device {device_id} exists; ids are never used again, choose another or update it",
            metadata={"device": device_id},
        )
    if taken := hidden | db.purged_ids(connection, device_ids):
        device_id = min(taken)
        raise AlreadyExistsError(
            f"the id {device_id} is taken, maybe by a device that is gone; ids are never used again, choose another",
            metadata={"device": device_id},
        )


def _update(connection: Connection, changes: Sequence[Change], prefixes: Sequence[str]) -> list[Device]:
    device_ids = [change.given.device_id for change in changes]
    if found := given_twice("device_id", device_ids, prefixes):
        raise InvalidError(found)
    known = db.find_devices(connection, device_ids)
    missing = [at for at, change in enumerate(changes) if change.allow_missing and change.given.device_id not in known]
    if missing:
        _create(connection, [Creation(changes[at].given) for at in missing], [prefixes[at] for at in missing])
    created = {changes[at].given.device_id for at in missing}
    present = [(at, change) for at, change in enumerate(changes) if change.given.device_id not in created]
    devices = get_devices(connection, [change.given.device_id for _, change in present])
    wanted = []
    for (at, change), device in zip(present, devices, strict=True):
        check_etag(f"devices/{device.spec.device_id}", change.etag, device.revision)
        spec = with_change(device.spec, change)
        if spec != device.spec:
            check_changeable(device)
            wanted.append((at, device, spec))
    new_names = [spec.external_id if spec.external_id != device.spec.external_id else "" for _, device, spec in wanted]
    found += given_twice("external_id", new_names, [prefixes[at] for at, _, _ in wanted])
    world = gather(connection, (spec for _, _, spec in wanted))
    for at, device, spec in wanted:
        own = check_device(spec) + check_references(spec, world, device.spec)
        found += _below(prefixes[at], own)
    if found:
        raise InvalidError(found)
    resolved: list[tuple[Device, Resolved]] = []
    for _, device, spec in wanted:
        if spec.device_type != device.spec.device_type and not world.types[spec.device_type].spec.is_gateway:
            check_nobody_behind(connection, device, "cannot stop being a gateway")
        _check_place(spec, world)
        resolved.append((device, resolve(spec, world)))
    db.update_devices(connection, resolved, sequence.now_ms())
    updated = get_devices(connection, device_ids)
    new = {device.device_num: device for device in updated}
    for old, _ in resolved:
        note(old, new[old.device_num])
    return updated


def with_change(spec: DeviceSpec, change: Change) -> DeviceSpec:
    """The specification with a change made."""
    given = change.given
    spec = msgspec.structs.replace(spec, **{name: getattr(given, name) for name in change.fields})
    if change.label_keys:
        labels = {key: value for key, value in spec.labels.items() if key not in change.label_keys}
        labels |= {key: value for key, value in given.labels.items() if key in change.label_keys}
        spec = msgspec.structs.replace(spec, labels=labels)
    return spec


def check_changeable(device: Device) -> None:
    """Raises: PreconditionError."""
    device_id = device.spec.device_id
    if device.state == State.DECOMMISSIONED:
        raise PreconditionError(
            f"{device_id} is decommissioned and stays as it is; register the new device under a new id",
            reason="DEVICE_DECOMMISSIONED",
            metadata={"device": device_id},
        )
    if device.state == State.DELETED:
        raise PreconditionError(
            f"{device_id} is deleted; undelete it first", reason="DEVICE_DELETED", metadata={"device": device_id}
        )


def _check_place(spec: DeviceSpec, world: World) -> None:
    """Before anything is written, so that one of many can be refused alone. Raises: PermissionDeniedError."""
    if not scope().is_everything:
        ward_code = placed(spec, world.sites.get(spec.site_id), world.wards).ward_code
        check_change(f"devices/{spec.device_id}", None, {"ward_code": ward_code, "labels": spec.labels})


def prefixes_of(requests: Sequence[object]) -> list[str]:
    """What goes before the fields of the violations of each request of a batch."""
    return [f"requests[{at}]." for at in range(len(requests))]


def given_twice(field: str, values: Iterable[str], prefixes: Sequence[str]) -> list[Violation]:
    """A violation for each value that another one before it has. Empty values are none."""
    seen: set[str] = set()
    found = []
    for value, prefix in zip(values, prefixes, strict=True):
        if value and value in seen:
            found.append(Violation(f"{prefix}{field}", "GIVEN_TWICE", f"`{value}` is given twice"))
        seen.add(value)
    return found


def _below(prefix: str, violations: list[Violation]) -> list[Violation]:
    if not prefix:
        return violations
    return [msgspec.structs.replace(violation, field=prefix + violation.field) for violation in violations]
