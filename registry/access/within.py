"""What lies within the scope of the call, looked up in its own transaction. What is outside looks as if it was not
there: who may not see a device must not learn by an error that there is one.

Nothing is looked up for a scope that is everything.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from registry.access.caller import scope
from registry.access.rules import Named
from registry.db import devices as db_devices
from registry.db import sites as db_sites
from registry.errors import PermissionDeniedError

_COLLECTIONS = {"devices": "device", "sites": "site"}


def hidden_devices(connection: Connection, device_ids: Iterable[str]) -> set[str]:
    """Those of the devices that are there, but outside. At most some thousands at once."""
    within = scope()
    if within.is_everything:
        return set()
    found = db_devices.places_of(connection, set(device_ids))
    return {device_id for device_id, (ward_code, labels) in found.items() if not within.covers(ward_code, labels)}


def hidden_sites(connection: Connection, site_ids: Iterable[str]) -> set[str]:
    """Those of the sites that are there, but outside. At most some thousands at once."""
    within = scope()
    if within.is_everything:
        return set()
    found = db_sites.find_sites(connection, set(site_ids))
    return {site_id for site_id, site in found.items() if not within.covers(site.ward_code, site.spec.labels)}


def check_named(connection: Connection, named: Iterable[Named]) -> None:
    """Raises: PermissionDeniedError for the first one that is not there or outside."""
    within = scope()
    if within.is_everything:
        return
    named = list(named)
    devices = db_devices.places_of(connection, {_id(each.name) for each in named if _is("devices", each.name)})
    sites = db_sites.find_sites(connection, {_id(each.name) for each in named if _is("sites", each.name)})
    places = {f"devices/{device_id}": place for device_id, place in devices.items()}
    places |= {f"sites/{site_id}": (site.ward_code, site.spec.labels) for site_id, site in sites.items()}
    # To be created, unless its id was used up by a device that is gone: that must look like one that is hidden.
    missing = {_id(each.name) for each in named if each.may_be_missing and each.name not in places}
    used_up = db_devices.purged_ids(connection, missing) if missing else set()
    for each in named:
        place = places.get(each.name)
        if place is None and each.may_be_missing and _id(each.name) not in used_up:
            continue
        if place is None or not within.covers(*place):
            raise hidden(each.name)


def check_change(resource: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> None:
    """Whether a device or site may be brought from one state to another, both with `ward_code` and `labels`.

    Raises: PermissionDeniedError.
    """
    within = scope()
    if within.is_everything or not (_is("devices", resource) or _is("sites", resource)):
        return
    if before is not None and not within.covers(before["ward_code"], before["labels"]):
        raise hidden(resource)
    if after is not None and not within.covers(after["ward_code"], after["labels"]):
        raise outside(resource, after["ward_code"])


def hidden(resource: str) -> PermissionDeniedError:
    """The one answer for what is not there and for what the caller may not touch."""
    collection, _, resource_id = resource.partition("/")
    noun = _COLLECTIONS.get(collection, "resource")
    return PermissionDeniedError(
        f"there is no {noun} {resource_id}, or it is not among those that you have the role for",
        reason="NOT_THERE_OR_NOT_YOURS",
        metadata={"resource": resource},
    )


def outside(resource: str, ward_code: str) -> PermissionDeniedError:
    where = f"in ward {ward_code}" if ward_code else "in no ward"
    return PermissionDeniedError(
        f"{resource} would be {where} with labels that you have no role for; give it a place, a ward and the labels "
        "of your own",
        reason="OUT_OF_SCOPE",
        metadata={"resource": resource, "ward_code": ward_code},
    )


def _is(collection: str, name: str) -> bool:
    return name.startswith(f"{collection}/")


def _id(name: str) -> str:
    return name.partition("/")[2]
