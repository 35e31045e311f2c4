"""One change to each of many devices, in one write transaction: each gets its own verdict, none holds up the others."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.within import check_change
from registry.db import devices as db
from registry.db import lifecycle as db_lifecycle
from registry.db import sequence
from registry.devices import counted, lifecycle
from registry.devices.fleet import Change, check_changeable, gateway_in_use, with_change
from registry.devices.model import Device, State
from registry.devices.references import World, check_references, gather, resolve
from registry.devices.rules import check_device
from registry.errors import InvalidError, RegistryError
from registry.operations.model import Failure


class Outcome(msgspec.Struct, frozen=True):
    """`done`: the devices that changed, as they were before."""

    done: list[Device]
    unchanged: int
    failures: list[Failure]


def update_each(connection: Connection, found: Sequence[Device], change: Change) -> Outcome:
    """Args: found: at most some thousands, of this transaction."""
    wanted = [(device, with_change(device.spec, change)) for device in found]
    wanted = [(device, spec) for device, spec in wanted if spec != device.spec]
    world = gather(connection, (spec for _, spec in wanted))
    retyped = [device.device_num for device, spec in wanted if spec.device_type != device.spec.device_type]
    behind = counted.behind(connection, retyped) if retyped else {}
    resolved: list[tuple[Device, db.Resolved]] = []
    failures = []
    for device, spec in wanted:
        try:
            check_changeable(device)
            if violations := check_device(spec) + check_references(spec, world, device.spec):
                raise InvalidError(violations)
            if device.device_num in behind and not world.types[spec.device_type].spec.is_gateway:
                raise gateway_in_use(device, behind[device.device_num], "cannot stop being a gateway")
            new = resolve(spec, world)
            within = {"ward_code": new.placed.ward_code, "labels": spec.labels}
            check_change(f"devices/{spec.device_id}", None, within)
            resolved.append((device, new))
        except RegistryError as exc:
            failures.append(_failed(device, exc))
    if resolved:
        db.update_devices(connection, resolved, sequence.now_ms())
    return Outcome([device for device, _ in resolved], len(found) - len(wanted), failures)


def end_each(connection: Connection, found: Sequence[Device], state: State, behind: Mapping[int, int]) -> Outcome:
    """Decommission or delete. What is so already, or is deleted, does not change.

    Args: behind: the gateways that active devices will be behind, as of registry.devices.counted.behind.
    """
    ended = (state, State.DELETED)
    wanted = [device for device in found if device.state not in ended]
    what = "cannot be deleted" if state == State.DELETED else "cannot be decommissioned"
    failures = [
        _failed(device, gateway_in_use(device, behind[device.device_num], what))
        for device in wanted
        if device.is_active and device.device_num in behind
    ]
    done = [device for device in wanted if not device.is_active or device.device_num not in behind]
    now_ms = sequence.now_ms()
    purge_time_ms = now_ms + lifecycle.KEPT_MS if state == State.DELETED else None
    db_lifecycle.end_devices(connection, done, state, now_ms, purge_time_ms)
    return Outcome(done, len(found) - len(wanted), failures)


def undelete_each(connection: Connection, found: Sequence[Device], world: World) -> Outcome:
    """What is not deleted does not change. Args: world: with everything that the devices name."""
    wanted = [device for device in found if device.state == State.DELETED]
    now_ms = sequence.now_ms()
    done, failures = [], []
    for device in wanted:
        if exc := lifecycle.undelete_refused(device, world):
            failures.append(_failed(device, exc))
        else:
            db_lifecycle.undelete_device(connection, device.device_num, now_ms)
            done.append(device)
    return Outcome(done, len(found) - len(wanted), failures)


def purge_each(connection: Connection, found: Sequence[Device]) -> Outcome:
    """What is not deleted does not change."""
    done = [device for device in found if device.state == State.DELETED]
    db_lifecycle.purge_devices(connection, [device.device_num for device in done], sequence.now_ms())
    return Outcome(done, len(found) - len(done), [])


def _failed(device: Device, exc: RegistryError) -> Failure:
    return Failure.of(f"devices/{device.spec.device_id}", exc)
