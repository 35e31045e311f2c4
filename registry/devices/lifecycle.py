"""The end of devices: decommission, delete, undelete, purge. Each function runs in one write transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import devices as db
from registry.db import lifecycle as db_lifecycle
from registry.db import sequence
from registry.devices.catalogue import check_etag
from registry.devices.fleet import check_nobody_behind, get_device, note
from registry.devices.model import Device, State
from registry.devices.references import World, check_references, gather
from registry.errors import PreconditionError

KEPT_MS = 30 * 86_400_000
PURGED_AT_ONCE = 1000


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
    device = get_device(connection, device_id)
    check_etag(f"devices/{device_id}", given_etag, device.revision)
    if device.state == State.DELETED:
        raise _wrong_state(device, "is deleted already", "DEVICE_DELETED")
    if device.is_active:
        check_nobody_behind(connection, device, "cannot be deleted")
    now_ms = sequence.now_ms()
    db_lifecycle.end_devices(connection, [device], State.DELETED, now_ms, now_ms + KEPT_MS)
    return _noted(connection, device)


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
    db_lifecycle.purge_devices(connection, due, now_ms)
    if due:
        changed("devices", None, {"purged": len(due)})
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
