"""Loading boundaries, and moving what is in another ward by them. In one write transaction."""

import msgspec
from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import sequence
from registry.db import sites as db_sites
from registry.db import wards as db
from registry.devices.placements import follow_wards
from registry.devices.rules import MAX_TEXT, check_text
from registry.devices.wards import wards
from registry.errors import InvalidError
from registry.sites.model import Site
from registry.wards.boundaries import read_boundaries
from registry.wards.locate import WardMap

CHUNK_SITES = 5000
DEFAULT_PROPERTY = "ward_code"


class Loaded(msgspec.Struct, frozen=True):
    boundaries: int
    missing: tuple[str, ...]
    sites_moved: int = 0
    devices_moved: int = 0


def load_boundaries(connection: Connection, geojson: bytes, code_property: str, source: str, reassign: bool) -> Loaded:
    """Replace the boundaries by those of a GeoJSON file; with `reassign`, who was in a ward by his place follows.

    Raises: InvalidError.
    """
    if found := check_text("source", source, MAX_TEXT):
        raise InvalidError(found)
    shapes = read_boundaries(geojson, code_property or DEFAULT_PROPERTY)
    db.replace_boundaries(connection, shapes, source, sequence.now_ms())
    missing = tuple(sorted(wards().keys() - {code for code, _ in shapes}))
    loaded = Loaded(len(shapes), missing)
    if reassign:
        # Not by way of ward_map, which would remember them even if this transaction is rolled back.
        boundaries = WardMap(0, shapes)
        sites, moved = _move_sites(connection, boundaries)
        loaded = Loaded(len(shapes), missing, moved, follow_wards(connection, sites, boundaries))
    counts = {"sites_moved": loaded.sites_moved, "devices_moved": loaded.devices_moved}
    changed("wards", None, {"boundaries": len(shapes), "source": source, **counts})
    return loaded


def _move_sites(connection: Connection, boundaries: WardMap) -> tuple[dict[int, Site], int]:
    """All sites with the wards of now, by number; and how many have another ward than before."""
    found: dict[int, Site] = {}
    moved, last_num = 0, 0
    while page := db_sites.sites_after(connection, last_num, CHUNK_SITES):
        last_num = page[-1].site_num
        changes = []
        for site in page:
            if site.is_ward_derived:
                ward_code = boundaries.locate(site.spec.latitude, site.spec.longitude)
                if ward_code != site.ward_code:
                    changes.append((site.site_num, ward_code))
                    site = msgspec.structs.replace(site, ward_code=ward_code)
            found[site.site_num] = site
        db_sites.set_wards(connection, changes, sequence.now_ms())
        moved += len(changes)
    return found, moved
