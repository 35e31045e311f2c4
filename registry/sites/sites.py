"""Sites: create, update, delete, undelete, purge. Each function runs in one write transaction."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.within import hidden_sites
from registry.audit.record import changed
from registry.db import sequence
from registry.db import sites as db
from registry.devices.catalogue import check_etag
from registry.devices.counted import in_use
from registry.devices.fleet import given_twice, prefixes_of
from registry.devices.placements import follow_site, leave_site
from registry.devices.rules import DEVICE_ID, MAX_TEXT, bad_ward, check_labels, check_place, check_text
from registry.devices.wards import wards
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, PreconditionError, Violation
from registry.sites.model import KINDS, Site, SiteSpec
from registry.wards.locate import WardMap, ward_map

UPDATABLE = ("display_name", "kind", "latitude", "longitude", "ward_code", "labels")
KEPT_MS = 30 * 86_400_000
PURGED_AT_ONCE = 1000


class SiteChange(msgspec.Struct, frozen=True):
    """Take the named fields from `given`.

    `fields` are of UPDATABLE; `label_keys` are single labels to set, or to remove where `given` has none. With
    `allow_missing` a site that does not exist is created as `given`.
    """

    given: SiteSpec
    fields: frozenset[str]
    label_keys: frozenset[str] = frozenset()
    etag: str = ""
    allow_missing: bool = False


class SiteDeletion(msgspec.Struct, frozen=True):
    """`etag`: only while it is still that version; empty: whatever it is."""

    site_id: str
    etag: str = ""


def check_site(spec: SiteSpec) -> list[Violation]:
    found: list[Violation] = []
    if not DEVICE_ID.fullmatch(spec.site_id):
        text = f"`{spec.site_id}` is not a site id: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("site_id", "SITE_ID_INVALID", text))
    if spec.kind not in KINDS:
        found.append(Violation("kind", "KIND_UNKNOWN", f"`{spec.kind}` is not one of {', '.join(KINDS)}"))
    if spec.ward_code and spec.ward_code not in wards():
        found.append(bad_ward(spec.ward_code))
    found += check_text("display_name", spec.display_name, MAX_TEXT)
    found += check_place(spec.latitude, spec.longitude)
    return found + check_labels(spec.labels)


def create_site(connection: Connection, spec: SiteSpec) -> Site:
    """Raises: InvalidError, AlreadyExistsError."""
    if found := check_site(spec):
        raise InvalidError(found)
    if existing := db.find_site(connection, spec.site_id):
        if hidden_sites(connection, [spec.site_id]):
            raise AlreadyExistsError(f"the id {spec.site_id} is taken", metadata={"site": spec.site_id})
        text = "is deleted; undelete it" if existing.is_deleted else "exists; update it"
        raise AlreadyExistsError(
            f"the site {spec.site_id} {text}, or choose another id", metadata={"site": spec.site_id}
        )
    ((ward_code, is_derived),) = _wards(ward_map(connection), [spec])
    db.insert_sites(connection, [(spec, ward_code, is_derived)], sequence.now_ms())
    return _noted(connection, spec.site_id, None)


def get_site(connection: Connection, site_id: str) -> Site:
    """Also a deleted one. Raises: NotFoundError."""
    site = db.find_site(connection, site_id)
    if site is None:
        raise _not_there(site_id)
    return site


def get_sites(connection: Connection, site_ids: Sequence[str], *, allow_missing: bool = False) -> list[Site]:
    """In the order given, deleted ones too; at most some thousands.

    Args: allow_missing: leave out what is not there or is outside the scope of the call.
    Raises: NotFoundError.
    """
    known = db.find_sites(connection, site_ids)
    if allow_missing:
        hidden = hidden_sites(connection, known)
        return [known[site_id] for site_id in site_ids if site_id in known and site_id not in hidden]
    for site_id in site_ids:
        if site_id not in known:
            raise _not_there(site_id)
    return [known[site_id] for site_id in site_ids]


def update_site(connection: Connection, change: SiteChange) -> Site:
    """The devices there follow, where they have no place or ward of their own.

    Raises: InvalidError, NotFoundError, EtagMismatchError, PreconditionError.
    """
    return _update(connection, [change], [""])[0]


def update_sites(connection: Connection, changes: Sequence[SiteChange]) -> list[Site]:
    """All or none, in the order given, each once; at most some thousands.

    Raises: as update_site; fields of an InvalidError begin with `requests[0].`.
    """
    return _update(connection, changes, prefixes_of(changes))


def _update(connection: Connection, changes: Sequence[SiteChange], prefixes: Sequence[str]) -> list[Site]:
    site_ids = [change.given.site_id for change in changes]
    if twice := given_twice("site.name", site_ids, prefixes):
        raise InvalidError(twice)
    known = db.find_sites(connection, site_ids)
    wanted: list[tuple[Site | None, SiteSpec]] = []
    found: list[Violation] = []
    for change, prefix in zip(changes, prefixes, strict=True):
        site = known.get(change.given.site_id)
        if (spec := _changed_to(site, change)) is None:
            continue
        wanted.append((site, spec))
        found += [msgspec.structs.replace(each, field=prefix + each.field) for each in check_site(spec)]
    if found:
        raise InvalidError(found)
    if not wanted:
        return [known[site_id] for site_id in site_ids]
    boundaries, now_ms = ward_map(connection), sequence.now_ms()
    wards_there = _wards(boundaries, [spec for _, spec in wanted])
    new = [(spec, *ward) for (site, spec), ward in zip(wanted, wards_there, strict=True) if site is None]
    db.insert_sites(connection, new, now_ms)
    for (site, spec), ward in zip(wanted, wards_there, strict=True):
        if site is not None:
            db.update_site(connection, site.site_num, spec, *ward, now_ms)
    updated = db.find_sites(connection, site_ids)
    for site, spec in wanted:
        after = updated[spec.site_id]
        changed(f"sites/{spec.site_id}", _plain(site), _plain(after))
        if site is not None and _where(after) != _where(site):
            follow_site(connection, after, boundaries)
    return [updated[site_id] for site_id in site_ids]


def _changed_to(site: Site | None, change: SiteChange) -> SiteSpec | None:
    """What the site is to be; None: what it is. Raises: NotFoundError, EtagMismatchError, PreconditionError."""
    given = change.given
    if site is None:
        if not change.allow_missing:
            raise _not_there(given.site_id)
        return given
    check_etag(f"sites/{given.site_id}", change.etag, site.revision)
    spec = msgspec.structs.replace(site.spec, **{name: getattr(given, name) for name in change.fields})
    if change.label_keys:
        labels = {key: value for key, value in spec.labels.items() if key not in change.label_keys}
        labels |= {key: value for key, value in given.labels.items() if key in change.label_keys}
        spec = msgspec.structs.replace(spec, labels=labels)
    if spec == site.spec:
        return None
    if site.is_deleted:
        raise _refused(site, "is deleted; undelete it first", "SITE_DELETED")
    return spec


def delete_site(connection: Connection, site_id: str, given_etag: str) -> Site:
    """Hide it; it can be undeleted for 30 days. Raises: NotFoundError, EtagMismatchError, PreconditionError."""
    return delete_sites(connection, [SiteDeletion(site_id, given_etag)])[0]


def delete_sites(connection: Connection, wanted: Sequence[SiteDeletion], *, allow_missing: bool = False) -> list[Site]:
    """All or none, in the order given, each once; at most some thousands.

    Args: allow_missing: leave out what is not there, is deleted already, or is outside the scope of the call.
    Raises: as delete_site; InvalidError, whose fields begin with `requests[0].`.
    """
    if twice := given_twice("name", (each.site_id for each in wanted), prefixes_of(wanted)):
        raise InvalidError(twice)
    known = db.find_sites(connection, [each.site_id for each in wanted])
    if allow_missing:
        there = {site_id for site_id, site in known.items() if not site.is_deleted}
        there -= hidden_sites(connection, there)
        wanted = [each for each in wanted if each.site_id in there]
    held = db.active_devices(connection, [site.site_num for site in known.values()])
    for each in wanted:
        if (site := known.get(each.site_id)) is None:
            raise _not_there(each.site_id)
        check_etag(f"sites/{each.site_id}", each.etag, site.revision)
        if site.is_deleted:
            raise _refused(site, "is deleted already", "SITE_DELETED")
        if count := held.get(site.site_num, 0):
            says, counted = in_use(each.site_id, "cannot be deleted", "are mounted there", count, "devices")
            raise PreconditionError(
                f"{says}; move or delete them first", reason="SITE_IN_USE", metadata={"site": each.site_id, **counted}
            )
    now_ms = sequence.now_ms()
    db.set_deleted(connection, [known[each.site_id].site_num for each in wanted], now_ms, now_ms + KEPT_MS, now_ms)
    ended = db.find_sites(connection, [each.site_id for each in wanted])
    for each in wanted:
        changed(f"sites/{each.site_id}", _plain(known[each.site_id]), _plain(ended[each.site_id]))
    return [ended[each.site_id] for each in wanted]


def undelete_site(connection: Connection, site_id: str) -> Site:
    """Raises: NotFoundError, PreconditionError."""
    site = get_site(connection, site_id)
    if not site.is_deleted:
        raise _refused(site, "is not deleted", "SITE_NOT_DELETED")
    db.set_deleted(connection, [site.site_num], None, None, sequence.now_ms())
    return _noted(connection, site_id, site)


def purge_due(connection: Connection) -> int:
    """Remove some of the deleted sites whose time is over; returns how many: call again until it is 0."""
    due = db.due_for_purge(connection, sequence.now_ms(), PURGED_AT_ONCE)
    if due:
        for site_num in due:
            leave_site(connection, site_num)
        db.purge_sites(connection, list(due))
        changed("sites", None, {"purged": len(due), "sites": list(due.values())})
    return len(due)


def _noted(connection: Connection, site_id: str, before: Site | None) -> Site:
    """The site as it is now, after noting for the audit what it was."""
    after = get_site(connection, site_id)
    changed(f"sites/{site_id}", _plain(before), _plain(after))
    return after


def _plain(site: Site | None) -> dict[str, object] | None:
    if site is None:
        return None
    return msgspec.structs.asdict(site.spec) | {"ward_code": site.ward_code, "is_deleted": site.is_deleted}


def _wards(boundaries: WardMap, specs: Sequence[SiteSpec]) -> list[tuple[str, bool]]:
    """Of each the ward in force, and whether it was, or is to be, found by the place."""
    places = {
        (spec.latitude, spec.longitude)
        for spec in specs
        if spec.latitude is not None and spec.longitude is not None and not spec.ward_code
    }
    ordered = list(places)
    codes = boundaries.locate_many([place[0] for place in ordered], [place[1] for place in ordered])
    at = dict(zip(ordered, codes, strict=True))
    return [
        (spec.ward_code, False)
        if spec.ward_code
        else (at.get((spec.latitude, spec.longitude), ""), spec.latitude is not None)  # type: ignore[arg-type]
        for spec in specs
    ]


def _where(site: Site) -> tuple[float | None, float | None, str]:
    return site.spec.latitude, site.spec.longitude, site.ward_code


def _not_there(site_id: str) -> NotFoundError:
    text = f"there is no site {site_id}; `cityfleet site list` shows those there are"
    return NotFoundError(text, reason="SITE_NOT_FOUND", metadata={"site": site_id})


def _refused(site: Site, what: str, reason: str) -> PreconditionError:
    site_id = site.spec.site_id
    return PreconditionError(f"{site_id} {what}", reason=reason, metadata={"site": site_id})
