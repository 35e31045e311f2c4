"""The end of devices: decommission, delete, undelete, purge. Each function runs in one write transaction."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.within import hidden_devices
from registry.audit.record import changed
from registry.db import devices as db
from registry.db import lifecycle as db_lifecycle
from registry.db import sequence
from registry.devices.catalogue import check_etag
from registry.devices.counted import behind
from registry.devices.fleet import (
    check_nobody_behind,
    gateway_in_use,
    get_device,
    get_devices,
    given_twice,
    note,
    prefixes_of,
)
from registry.devices.model import Device, State
from registry.devices.references import World, check_references, gather
from registry.errors import InvalidError, PreconditionError

KEPT_MS = 30 * 86_400_000
PURGED_AT_ONCE = 1000


class Deletion(msgspec.Struct, frozen=True):
    """`etag`: only while it is still that version; empty: whatever it is."""

    device_id: str
    etag: str = ""


def decommission_device(connection: Connection, device_id: str, given_etag: str) -> Device:
    """Take the credentials away for good. Doing it again changes nothing.

    Raises: NotFoundError, EtagMismatchError, PreconditionError.
    """
    device = get_device(connection, device_id)
    check_etag(f"devices/{device_id}", given_etag, device.revision)
    if not device.is_active:
        return device
    check_nobody_behind(connection, device, "cannot be decommissioned")
    db_lifecycle.end_devices(connection, [device], State.DECOMMISSIONED, sequence.now_ms(), None)
    return _noted(connection, device)


def delete_device(connection: Connection, device_id: str, given_etag: str) -> Device:
    """Decommission and hide it; it can be undeleted for 30 days.

    Raises: NotFoundError, EtagMismatchError, PreconditionError; also if it is deleted already.
    """
    return delete_devices(connection, [Deletion(device_id, given_etag)])[0]


def delete_devices(connection: Connection, wanted: Sequence[Deletion], *, allow_missing: bool = False) -> list[Device]:
    """All or none, in the order given, each once; at most some thousands. A gateway may go with those behind it.

    Args: allow_missing: leave out what is not there, is deleted already, or is outside the scope of the call.
    Raises: as delete_device; InvalidError, whose fields begin with `requests[0].`.
    """
    if twice := given_twice("name", (each.device_id for each in wanted), prefixes_of(wanted)):
        raise InvalidError(twice)
    if allow_missing:
        known = db.find_devices(connection, [each.device_id for each in wanted])
        there = {device_id for device_id, device in known.items() if device.state != State.DELETED}
        there -= hidden_devices(connection, there)
        wanted = [each for each in wanted if each.device_id in there]
    device_ids = [each.device_id for each in wanted]
    devices = get_devices(connection, device_ids)
    for each, device in zip(wanted, devices, strict=True):
        check_etag(f"devices/{device.spec.device_id}", each.etag, device.revision)
        if device.state == State.DELETED:
            raise _wrong_state(device, "is deleted already", "DEVICE_DELETED")
    now_ms = sequence.now_ms()
    db_lifecycle.end_devices(connection, devices, State.DELETED, now_ms, now_ms + KEPT_MS)
    # Only now: those that go with their gateway do not hold it.
    held = behind(connection, (device.device_num for device in devices if device.is_active))
    for device in devices:
        if device.device_num in held:
            raise gateway_in_use(device, held[device.device_num], "cannot be deleted")
    ended = get_devices(connection, device_ids)
    for before, after in zip(devices, ended, strict=True):
        note(before, after)
    return ended


def undelete_device(connection: Connection, device_id: str) -> Device:
    """Bring it back as it was, but without a token and an external id: rotate the token to let it talk again.

    Raises: NotFoundError, PreconditionError if it is not deleted, or its gateway or site is gone.
    """
    device = get_device(connection, device_id)
    if device.state != State.DELETED:
        raise _wrong_state(device, "is not deleted", "DEVICE_NOT_DELETED")
    if exc := undelete_refused(device, gather(connection, [device.spec])):
        raise exc
    db_lifecycle.undelete_device(connection, device.device_num, sequence.now_ms())
    return _noted(connection, device)


def undelete_refused(device: Device, world: World) -> PreconditionError | None:
    """What stands against bringing it back. Args: world: with everything that it names."""
    found = check_references(device.spec, world)
    if not found:
        return None
    device_id = device.spec.device_id
    return PreconditionError(
        f"{device_id} cannot be undeleted: {found[0].field}: {found[0].description}",
        reason=found[0].reason,
        metadata={"device": device_id},
    )


def purge_due(connection: Connection) -> int:
    """Remove some of the deleted devices whose time is over; returns how many: call again until it is 0."""
    now_ms = sequence.now_ms()
    due = db_lifecycle.due_for_purge(connection, now_ms, PURGED_AT_ONCE)
    device_ids = db_lifecycle.purge_devices(connection, due, now_ms)
    if due:
        changed("devices", None, {"purged": len(due), "devices": device_ids})
    return len(due)


def purge_devices(connection: Connection, device_ids: Sequence[str]) -> int:
    """Remove deleted devices before their time; returns how many.

    Args: device_ids: at most some thousands.
    Raises: PreconditionError if one is not deleted.
    """
    found = db.find_devices(connection, device_ids)
    for device in found.values():
        if device.state != State.DELETED:
            raise _wrong_state(device, "is not deleted; delete it first", "DEVICE_NOT_DELETED")
    db_lifecycle.purge_devices(connection, [device.device_num for device in found.values()], sequence.now_ms())
    for device in found.values():
        note(device, None)
    return len(found)


def _noted(connection: Connection, before: Device) -> Device:
    after = get_device(connection, before.spec.device_id)
    note(before, after)
    return after


def _wrong_state(device: Device, what: str, reason: str) -> PreconditionError:
    device_id = device.spec.device_id
    return PreconditionError(f"{device_id} {what}", reason=reason, metadata={"device": device_id})
