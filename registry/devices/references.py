"""What devices name: their type, their gateway, their site, the holders of external ids. Looked up for many at once."""

from collections.abc import Collection, Iterable, Mapping

import msgspec
from sqlalchemy import Connection

from registry.access.within import hidden_devices, hidden_sites
from registry.db import catalogue as db_catalogue
from registry.db import devices as db
from registry.db import sites as db_sites
from registry.db.devices import Gateway, Resolved
from registry.devices.model import DeviceSpec, DeviceType
from registry.devices.placements import placed
from registry.devices.rules import check_hardware_revision
from registry.errors import Violation
from registry.sites.model import Site
from registry.wards.locate import WardMap, ward_map


class World(msgspec.Struct, frozen=True):
    """All by id; what is not in it does not exist. `holders`: ids of devices by external id; empty: of one that the
    caller may not know of. `hidden`: gateways and sites that he may not name, though a device may have them already."""

    types: Mapping[str, DeviceType]
    gateways: Mapping[str, Gateway]
    sites: Mapping[str, Site]
    holders: Mapping[str, str]
    wards: WardMap
    hidden: frozenset[str] = frozenset()


def gather(connection: Connection, specs: Iterable[DeviceSpec]) -> World:
    """Everything that the given specifications name. At most some thousands at once."""
    specs = list(specs)
    gateways = _names(spec.gateway for spec in specs)
    sites = _names(spec.site_id for spec in specs)
    external_ids = _names(spec.external_id for spec in specs)
    return World(
        types=db_catalogue.find_types(connection, _names(spec.device_type for spec in specs)),
        gateways=db.find_gateways(connection, gateways) if gateways else {},
        sites=db_sites.find_sites(connection, sites) if sites else {},
        holders=known_holders(connection, external_ids),
        wards=ward_map(connection),
        hidden=frozenset(
            {f"devices/{each}" for each in hidden_devices(connection, gateways)}
            | {f"sites/{each}" for each in hidden_sites(connection, sites)}
        ),
    )


def _names(given: Iterable[str]) -> set[str]:
    """PostgreSQL has no texts with NUL, so nothing is called so."""
    return {name for name in set(given) if name and "\0" not in name}


def known_holders(connection: Connection, external_ids: Collection[str]) -> dict[str, str]:
    """Who has these external ids, as in World. At most some thousands at once."""
    if not external_ids:
        return {}
    holders = db.external_id_holders(connection, external_ids)
    hidden = hidden_devices(connection, holders.values())
    return {name: "" if holder in hidden else holder for name, holder in holders.items()}


def check_references(spec: DeviceSpec, world: World, old: DeviceSpec | None = None) -> list[Violation]:
    """What is wrong with what a device names. Args: old: as it is; what stays the same is not checked again."""
    found: list[Violation] = []
    if old is None or (spec.device_type, spec.gateway) != (old.device_type, old.gateway):
        is_hidden = f"devices/{spec.gateway}" in world.hidden
        found += check_type_and_gateway(spec, world.types, {} if is_hidden else world.gateways)
    kind = world.types.get(spec.device_type)
    is_new_pair = old is None or (spec.device_type, spec.hardware_revision) != (old.device_type, old.hardware_revision)
    if kind is not None and is_new_pair:
        found += check_hardware_revision(spec.hardware_revision, kind.spec)
    if old is None or spec.site_id != old.site_id:
        found += check_site(spec.site_id, {} if f"sites/{spec.site_id}" in world.hidden else world.sites)
    holder = world.holders.get(spec.external_id, spec.device_id) if spec.external_id else spec.device_id
    if holder != spec.device_id:
        found.append(external_id_taken(spec.external_id, holder))
    return found


def resolve(spec: DeviceSpec, world: World) -> Resolved:
    """The numbers, and the ward and place in force, of a specification that was found right."""
    site = world.sites.get(spec.site_id)
    gateway = world.gateways.get(spec.gateway)
    return Resolved(
        spec=spec,
        type_num=world.types[spec.device_type].type_num,
        gateway_num=gateway.device_num if gateway else 0,
        site_num=site.site_num if site else 0,
        placed=placed(spec, site, world.wards),
    )


def check_type_and_gateway(
    spec: DeviceSpec, types: Mapping[str, DeviceType], gateways: Mapping[str, Gateway]
) -> list[Violation]:
    """Args: types, gateways: by id; a missing one does not exist."""
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


def external_id_taken(external_id: str, holder: str) -> Violation:
    """Args: holder: empty: not to be told."""
    text = f'`{external_id}` is the external id of {holder}; take it from there first (--external-id "")'
    if not holder:
        text = f"`{external_id}` is taken"
    return Violation("external_id", "EXTERNAL_ID_TAKEN", text)


def check_site(site_id: str, sites: Mapping[str, Site]) -> list[Violation]:
    """Args: sites: by id; a missing one does not exist."""
    if not site_id:
        return []
    site = sites.get(site_id)
    if site is None:
        text = f"there is no site `{site_id}`; `cityfleet site list` shows those there are"
        return [Violation("site_id", "SITE_UNKNOWN", text)]
    if site.is_deleted:
        return [Violation("site_id", "SITE_DELETED", f"the site `{site_id}` is deleted; undelete it or name another")]
    return []
