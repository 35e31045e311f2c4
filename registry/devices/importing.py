"""The import: a request's rows in one transaction, each row with its own verdict."""

from collections.abc import Iterable
from typing import Literal

import msgspec
from sqlalchemy import Connection

from registry.access.caller import scope
from registry.access.within import hidden_devices, hidden_sites, outside
from registry.db import catalogue as db_catalogue
from registry.db import devices as db
from registry.db import sequence
from registry.db import sites as db_sites
from registry.db.devices import Gateway, NewDevice, Resolved
from registry.devices import tokens
from registry.devices.fleet import UPDATABLE, Change, check_update, rotate_token, update_device
from registry.devices.model import Device, DeviceSpec, DeviceType
from registry.devices.placements import placed
from registry.devices.references import check_site, check_type_and_gateway, external_id_taken, known_holders
from registry.devices.rules import check_device
from registry.errors import InvalidError, PermissionDeniedError, PreconditionError, Violation
from registry.sites.model import Site
from registry.wards.locate import WardMap, ward_map

Outcome = Literal["created", "updated", "unchanged", "failed"]


class Mask(msgspec.Struct, frozen=True):
    """What a row speaks of: fields of a device's specification, and single labels by their keys."""

    fields: tuple[str, ...]
    label_keys: tuple[str, ...] = ()


_EVERYTHING = Mask(tuple(name for name in DeviceSpec.__struct_fields__ if name != "device_id"))


class Row(msgspec.Struct, frozen=True):
    """`token` is empty unless the device brings its own; `is_token_for_new`: one that exists keeps what it has.

    `mask`: what of an existing device is compared and changed; None: everything.
    """

    row: int
    spec: DeviceSpec
    token: str
    is_token_for_new: bool = False
    mask: Mask | None = None


class Result(msgspec.Struct, frozen=True):
    row: int
    outcome: Outcome
    token: str = ""
    violations: tuple[Violation, ...] = ()


class Planned(msgspec.Struct, frozen=True):
    """What a dry run remembers of a device that it did not create."""

    is_gateway: bool
    content: int


class DryRun(msgspec.Struct):
    """The devices that earlier requests of the same stream would have created, by id."""

    planned: dict[str, Planned] = {}
    # External ids they would have, and whose.
    external_ids: dict[str, str] = {}


class Mode(msgspec.Struct, frozen=True):
    """Of a whole stream. `own_tokens_only`: a new device that brings no token is refused."""

    dry_run: DryRun | None = None
    update_existing: bool = False
    own_tokens_only: bool = False


def mask_of(paths: Iterable[str], field: str) -> Mask:
    """Args: field: what an error calls the mask. Raises: InvalidError for a path that cannot be updated."""
    names, keys = [], []
    for path in paths:
        if path.startswith("labels."):
            keys.append(path.removeprefix("labels."))
        elif path in UPDATABLE:
            names.append(path)
        else:
            text = f"`{path}` is not a field of an import; fields are {', '.join(UPDATABLE)}, labels.KEY"
            raise InvalidError([Violation(field, "FIELD_NOT_UPDATABLE", text)])
    return Mask(tuple(names), tuple(keys))


def import_rows(connection: Connection, rows: list[Row], mode: Mode) -> list[Result]:
    """Create what is new and right, and update if asked to; a dry run only says what would happen.

    Results are in the order of `rows`.
    """
    dry_run = mode.dry_run
    types = {kind.spec.type_id: kind for kind in db_catalogue.list_types(connection)}
    existing = db.find_devices(connection, {row.spec.device_id for row in rows})
    gateways = db.find_gateways(connection, {row.spec.gateway for row in rows if row.spec.gateway})
    held = db.tokens_of(connection, [device.device_num for device in existing.values()]) if existing else {}
    external_ids = {row.spec.external_id for row in rows if row.spec.external_id}
    holders = known_holders(connection, external_ids)
    site_ids = {row.spec.site_id for row in rows if row.spec.site_id}
    sites = db_sites.find_sites(connection, site_ids) if site_ids else {}
    purged = db.purged_ids(connection, {row.spec.device_id for row in rows} - existing.keys())
    if not scope().is_everything:
        # As if they were not there; the ids are taken, as those of what is gone.
        hidden = hidden_devices(connection, {*existing, *gateways})
        existing = {key: device for key, device in existing.items() if key not in hidden}
        gateways = {key: gateway for key, gateway in gateways.items() if key not in hidden}
        hidden_there = hidden_sites(connection, sites)
        sites = {key: site for key, site in sites.items() if key not in hidden_there}
        purged |= hidden
    if dry_run is not None:
        holders = {**dry_run.external_ids, **holders}
    wards = ward_map(connection)
    fresh: dict[str, Row] = {}
    results: list[Result | None] = []
    waiting: list[int] = []
    for at, row in enumerate(rows):
        device = existing.get(row.spec.device_id)
        if device is not None:
            # Two rows of one batch may name the same device: the later one finds what the earlier one made of it.
            met, changed = _meet(connection, row, device, held.get(device.device_num, []), mode)
            results.append(met)
            if changed is not None:
                existing[row.spec.device_id] = changed
                held[device.device_num] = db.tokens_of(connection, [device.device_num]).get(device.device_num, [])
            continue
        if row.spec.device_id in purged:
            text = "a device that is gone had this id; ids are never used again, choose another"
            results.append(_failed(row, Violation("device_id", "DEVICE_ID_USED", text)))
            continue
        result = _judge(row, types, gateways, sites, holders, fresh, mode, wards)
        results.append(result)
        if result is None:
            fresh[row.spec.device_id] = row
            if row.spec.external_id:
                holders[row.spec.external_id] = row.spec.device_id
            waiting.append(at)
    made = _create(connection, [rows[at] for at in waiting], types, gateways, sites, dry_run)
    for at, token in zip(waiting, made, strict=True):
        told = rows[at].token if rows[at].is_token_for_new and dry_run is None else token
        results[at] = Result(rows[at].row, "created", told)
    return [result for result in results if result is not None]


def _judge(
    row: Row,
    types: dict[str, DeviceType],
    gateways: dict[str, Gateway],
    sites: dict[str, Site],
    holders: dict[str, str],
    fresh: dict[str, Row],
    mode: Mode,
    wards: WardMap,
) -> Result | None:
    """The verdict on a row whose device does not exist; None: create it.

    Args: holders: ids of the devices that have or will have an external id, by external id.
    """
    dry_run = mode.dry_run
    spec = row.spec
    twin = fresh.get(spec.device_id)
    if twin is not None:
        if twin.spec == spec and row.token in ("", twin.token):
            return Result(row.row, "unchanged")
        return _failed(row, Violation("device_id", "DUPLICATE_ROW", f"row {twin.row} has this id and differs"))
    if dry_run is not None and (planned := dry_run.planned.get(spec.device_id)):
        if planned.content == _content(row):
            return Result(row.row, "unchanged")
        return _failed(row, Violation("device_id", "DUPLICATE_ROW", "an earlier row has this id and differs"))
    found = check_device(spec)
    if row.token:
        found += tokens.check_token(row.token)
    elif mode.own_tokens_only:
        text = "no token, and nowhere to write a new one; name a file: --tokens-out FILE"
        found.append(Violation("token", "TOKEN_WOULD_BE_LOST", text))
    found += check_type_and_gateway(spec, types, _reachable(spec.gateway, types, gateways, fresh, dry_run))
    found += check_site(spec.site_id, sites)
    found += _check_scope(spec, sites, wards) if not found else []
    if (holder := holders.get(spec.external_id)) is not None:
        found.append(external_id_taken(spec.external_id, holder))
    return Result(row.row, "failed", violations=tuple(found)) if found else None


def _check_scope(spec: DeviceSpec, sites: dict[str, Site], wards: WardMap) -> list[Violation]:
    if scope().is_everything:
        return []
    ward_code = placed(spec, sites.get(spec.site_id), wards).ward_code
    if scope().covers(ward_code, spec.labels):
        return []
    return [Violation("ward_code", "OUT_OF_SCOPE", str(outside(f"devices/{spec.device_id}", ward_code)))]


def _reachable(
    gateway_id: str,
    types: dict[str, DeviceType],
    gateways: dict[str, Gateway],
    fresh: dict[str, Row],
    dry_run: DryRun | None,
) -> dict[str, Gateway]:
    """The named gateway, also if it is to be created by an earlier row."""
    if gateway_id in gateways or not gateway_id:
        return gateways
    if (row := fresh.get(gateway_id)) is not None:
        return {gateway_id: Gateway(0, types[row.spec.device_type].spec.is_gateway, True)}
    if dry_run is not None and (planned := dry_run.planned.get(gateway_id)):
        return {gateway_id: Gateway(0, planned.is_gateway, True)}
    return gateways


def _create(
    connection: Connection,
    rows: list[Row],
    types: dict[str, DeviceType],
    gateways: dict[str, Gateway],
    sites: dict[str, Site],
    dry_run: DryRun | None,
) -> list[str]:
    """Create the devices of `rows`; gateways first, because the others need their numbers. Returns the new tokens."""
    if dry_run is not None:
        for row in rows:
            is_gateway = types[row.spec.device_type].spec.is_gateway
            dry_run.planned[row.spec.device_id] = Planned(is_gateway, _content(row))
            if row.spec.external_id:
                dry_run.external_ids[row.spec.external_id] = row.spec.device_id
        return [""] * len(rows)
    now_ms = sequence.now_ms()
    made = ["" if row.token else tokens.new_token() for row in rows]
    wards = ward_map(connection)
    numbers = {gateway_id: gateway.device_num for gateway_id, gateway in gateways.items()}
    for is_gateway in (True, False):
        part = [
            NewDevice(
                Resolved(
                    row.spec,
                    types[row.spec.device_type].type_num,
                    numbers[row.spec.gateway] if row.spec.gateway else 0,
                    sites[row.spec.site_id].site_num if row.spec.site_id else 0,
                    placed(row.spec, sites.get(row.spec.site_id), wards),
                ),
                tokens.digest(row.token or token),
            )
            for row, token in zip(rows, made, strict=True)
            if types[row.spec.device_type].spec.is_gateway is is_gateway
        ]
        if part:
            first_num = db.insert_devices(connection, part, now_ms)
            numbers |= {new.resolved.spec.device_id: first_num + at for at, new in enumerate(part)}
    return made


def _meet(
    connection: Connection, row: Row, device: Device, held: list[bytes], mode: Mode
) -> tuple[Result, Device | None]:
    """The verdict on a row whose device exists, and the device if it was changed."""
    if not device.is_active:
        text = f"the device is {device.state.name.lower()}; ids are never used again, choose another"
        return _failed(row, Violation("device_id", "DEVICE_DECOMMISSIONED", text)), None
    mask = row.mask or _EVERYTHING
    differing = [name for name in mask.fields if getattr(row.spec, name) != getattr(device.spec, name)]
    label_keys = [key for key in mask.label_keys if row.spec.labels.get(key) != device.spec.labels.get(key)]
    is_held = bool(row.token) and tokens.digest(row.token) in held
    is_other_token = bool(row.token) and not is_held and not row.is_token_for_new
    if not differing and not label_keys and not is_other_token:
        return Result(row.row, "unchanged", row.token if is_held and row.is_token_for_new else ""), None
    if not mode.update_existing:
        names = [*differing, *(f"labels.{key}" for key in label_keys), *(["token"] if is_other_token else [])]
        text = (
            f"the device exists and differs in {', '.join(names)}; --update-existing brings it to the row's state, or "
            "change it by `cityfleet device update`"
        )
        return _failed(row, Violation(names[0], "DEVICE_EXISTS_DIFFERENT", text)), None
    if is_other_token and (found := tokens.check_token(row.token)):
        return Result(row.row, "failed", violations=tuple(found)), None
    change = Change(row.spec, frozenset(differing), frozenset(label_keys))
    try:
        # All checks of an update come before its first statement, so a refusal leaves nothing half done.
        if mode.dry_run is not None:
            check_update(connection, device, change)
            return Result(row.row, "updated"), None
        changed = update_device(connection, change)
    except InvalidError as exc:
        return Result(row.row, "failed", violations=tuple(exc.violations)), None
    except (PreconditionError, PermissionDeniedError) as exc:
        return _failed(row, Violation("", exc.reason, str(exc))), None
    if is_other_token:
        rotate_token(connection, row.spec.device_id, row.token, False)
    return Result(row.row, "updated"), changed


def _failed(row: Row, violation: Violation) -> Result:
    return Result(row.row, "failed", violations=(violation,))


def _content(row: Row) -> int:
    return hash((msgspec.json.encode(row.spec, order="sorted"), row.token))
