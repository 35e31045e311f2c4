"""Where a device is: its own place and ward, or those of its site, or the ward that has its place."""

from collections.abc import Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from registry.db import devices as db
from registry.db import placements as db_placements
from registry.db import sequence
from registry.db.devices import Resolved
from registry.devices.model import Device, DeviceSpec, Placed, Placement
from registry.sites.model import Site
from registry.wards.locate import WardMap

CHUNK_DEVICES = 5000


def placed(spec: DeviceSpec, site: Site | None, wards: WardMap) -> Placed:
    """Ward and place in force. A place outside every boundary is in the site's ward, or in none."""
    found = "" if spec.ward_code else wards.locate(spec.latitude, spec.longitude)
    return placed_in(spec, site, found)


def placed_in(spec: DeviceSpec, site: Site | None, found: str) -> Placed:
    """As placed. Args: found: the ward whose boundary has the device's own place; empty: none has."""
    latitude, longitude, is_place_derived = spec.latitude, spec.longitude, False
    if latitude is None and site is not None and site.spec.latitude is not None:
        latitude, longitude, is_place_derived = site.spec.latitude, site.spec.longitude, True
    if spec.ward_code:
        return Placed(spec.ward_code, False, latitude, longitude, is_place_derived)
    ward_code = found or (site.ward_code if site is not None else "")
    return Placed(ward_code, latitude is not None or site is not None, latitude, longitude, is_place_derived)


def follow_site(connection: Connection, site: Site, wards: WardMap) -> int:
    """Move the devices at a site to where it is now; returns how many moved."""
    moved, last_num = 0, 0
    while page := db.devices_at_site(connection, site.site_num, last_num, CHUNK_DEVICES):
        last_num = page[-1].device_num
        moved += _place_again(connection, [(device, site) for device in page], wards)
    return moved


def leave_site(connection: Connection, site_num: int) -> None:
    """Take the devices that are still at a site away from it, decommissioned and deleted ones: it is about to go."""
    while page := db.devices_at_site(connection, site_num, 0, CHUNK_DEVICES):
        changes = [
            (device, Resolved(replace(device.spec, site_id=""), device.type_num, device.gateway_num, 0, device.placed))
            for device in page
        ]
        db.update_devices(connection, changes, sequence.now_ms())


def follow_wards(connection: Connection, sites: dict[int, Site], wards: WardMap) -> int:
    """Move the devices whose ward was found to the ward that has them now; returns how many moved.

    Args: sites: with their wards of now, by number.
    """
    moved, last_num = 0, 0
    while page := db.devices_with_derived_ward(connection, last_num, CHUNK_DEVICES):
        last_num = page[-1].device_num
        moved += _place_again(connection, [(device, sites.get(device.site_num)) for device in page], wards)
    return moved


def list_placements(
    connection: Connection, device: Device, before_revision: int, limit: int
) -> list[tuple[int, Placement]]:
    """Where a device was, the newest first, each with the revision that ended it, or will at the earliest.

    Args: before_revision: of the last one of the page before; 0: from the present on.
    """
    found: list[tuple[int, Placement]] = []
    if not before_revision:
        spec, now = device.spec, device.placed
        present = Placement(
            device.placed_time_ms, None, spec.gateway, spec.site_id, now.ward_code, now.latitude, now.longitude
        )
        found.append((device.revision + 1, present))
    past = db_placements.past_placements(connection, device.device_num, before_revision, limit - len(found))
    return found + past


def _place_again(connection: Connection, devices: Sequence[tuple[Device, Site | None]], wards: WardMap) -> int:
    changes = []
    # Many at once: one by one the boundaries cost more than all the rest.
    own = [at for at, (device, _) in enumerate(devices) if device.spec.latitude is not None]
    specs = [devices[at][0].spec for at in own]
    found = wards.locate_many([spec.latitude or 0.0 for spec in specs], [spec.longitude or 0.0 for spec in specs])
    ward_of = dict(zip(own, found, strict=True))
    for at, (device, site) in enumerate(devices):
        now = placed_in(device.spec, site, ward_of.get(at, ""))
        if now != device.placed:
            changes.append((device, Resolved(device.spec, device.type_num, device.gateway_num, device.site_num, now)))
    db.update_devices(connection, changes, sequence.now_ms())
    return len(changes)
