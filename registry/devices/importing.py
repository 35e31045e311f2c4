"""The import: a request's rows in one transaction, each row with its own verdict.

What the rows name is looked up for all of them at once, what they change is written for all at once: statements cost
more than rows. The verdicts are those of rows that are done one after the other.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import Connection

from registry.access.caller import scope
from registry.access.within import outside
from registry.audit.record import changed
from registry.db import devices as db
from registry.db import sequence
from registry.db.devices import Gateway, NewDevice, Resolved
from registry.devices import tokens
from registry.devices.counted import behind
from registry.devices.dry_run import Planned, content
from registry.devices.fleet import Change, gateway_in_use, with_change
from registry.devices.import_model import Mode, Result, Row
from registry.devices.model import Device, DeviceSpec, Placed
from registry.devices.placements import placed_in
from registry.devices.references import World, check_references, gather
from registry.devices.rules import DEVICE_ID, check_device
from registry.errors import RegistryError, Violation


def import_rows(
    connection: Connection, rows: Sequence[Row], mode: Mode, on_judged: Callable[[], object] = lambda: None
) -> list[Result]:
    """Create what is new and right, and update if asked to; a dry run only says what would happen.

    Results are in the order of `rows`, which are at most some thousands. `on_judged` is called when all are known,
    before most of them are written.
    """
    batch = _Batch(connection, rows, mode)
    results = [batch.take(row) for row in rows]
    on_judged()
    batch.write()
    counts: Counter[str] = Counter(result.outcome for result in results)
    if counts["created"] or counts["updated"]:
        changed("devices", None, {**counts, "first_row": rows[0].row, "last_row": rows[-1].row})
    return results


class _New(msgspec.Struct, frozen=True, gc=False):
    row: Row
    placed: Placed
    token_sha256: bytes


class _Changed(msgspec.Struct, frozen=True):
    """`token_sha256`: its new token; empty: it keeps what it has."""

    before: Device
    spec: DeviceSpec
    placed: Placed
    token_sha256: bytes


class _Batch:
    """The rows that were taken and not yet written: changes of devices first, new devices behind them."""

    def __init__(self, connection: Connection, rows: Sequence[Row], mode: Mode) -> None:
        self._connection = connection
        self._mode = mode
        self._scope = scope()
        # A row that is wrong by itself may hold what no database takes.
        ids = {row.spec.device_id for row in rows if not row.violations or DEVICE_ID.fullmatch(row.spec.device_id)}
        self._known = db.find_devices(connection, ids)
        nums = [device.device_num for device in self._known.values()]
        self._held = db.tokens_of(connection, nums) if nums else {}
        self._gone = db.purged_ids(connection, ids - self._known.keys())
        # What a device has already is needed, too: a row need not speak of it.
        specs = [*(row.spec for row in rows), *(device.spec for device in self._known.values())]
        world = gather(connection, specs)
        # Both grow with the rows.
        self._gateways, self._holders = dict(world.gateways), dict(world.holders)
        self._world: World = msgspec.structs.replace(world, gateways=self._gateways, holders=self._holders)
        self._named = {spec.gateway for spec in specs if spec.gateway}
        self._wards = _wards_at(world, [row for row in rows if not row.violations])
        self._planned: dict[str, Planned] = {}
        if mode.dry_run is not None:
            self._planned = mode.dry_run.planned(ids | {name for name in self._named if DEVICE_ID.fullmatch(name)})
            self._gateways |= {
                name: Gateway(0, planned.is_gateway, True)
                for name, planned in self._planned.items()
                if name in self._named and name not in self._gateways
            }
            names = [spec.external_id for spec in specs if spec.external_id]
            self._holders |= mode.dry_run.holders(names) if names else {}
        # Rows that have created, or will create, their devices; by id.
        self._fresh: dict[str, Row] = {}
        self._new: list[_New] = []
        self._changed: dict[int, _Changed] = {}

    def take(self, row: Row) -> Result:
        """The verdict on a row that comes after those taken before."""
        device = self._known.get(row.spec.device_id)
        if row.spec.device_id in self._gone or (device is not None and not self._may_see(device)):
            text = "the id is taken, maybe by a device that is gone; ids are never used again, choose another"
            return _failed(row, Violation("device_id", "DEVICE_ID_USED", text))
        return self._create(row) if device is None else self._meet(row, device)

    def write(self) -> None:
        """Write what was taken."""
        new, self._new = self._new, []
        changes, self._changed = list(self._changed.values()), {}
        if self._mode.dry_run is not None:
            if new:
                self._mode.dry_run.add((each.row.spec, self._planned[each.row.spec.device_id]) for each in new)
            return
        now_ms = sequence.now_ms()
        if changes:
            resolved = [(each.before, self._resolved(each.spec, each.placed)) for each in changes]
            db.update_devices(self._connection, resolved, now_ms)
            replaced = [(each.before.device_num, each.token_sha256) for each in changes if each.token_sha256]
            db.replace_all_tokens(self._connection, replaced, now_ms)
        is_gateway = [self._world.types[each.row.spec.device_type].spec.is_gateway for each in new]
        for turn in (True, False):  # the others need the numbers of the gateways
            part = [each for each, is_one in zip(new, is_gateway, strict=True) if is_one is turn]
            if not part:
                continue
            rows = [NewDevice(self._resolved(each.row.spec, each.placed), each.token_sha256) for each in part]
            first_num = db.insert_devices(self._connection, rows, now_ms)
            for at, each in enumerate(part):
                device_id = each.row.spec.device_id
                if device_id in self._named:
                    self._gateways[device_id] = Gateway(first_num + at, turn, True)

    def _create(self, row: Row) -> Result:
        spec = row.spec
        if (twin := self._fresh.get(spec.device_id)) is not None:
            if twin.spec == spec and row.token in ("", twin.token):
                return Result(row.row, "unchanged")
            return _failed(row, Violation("device_id", "DUPLICATE_ROW", f"row {twin.row} has this id and differs"))
        if (planned := self._planned.get(spec.device_id)) is not None:
            if planned.content == content(spec, row.token):
                return Result(row.row, "unchanged")
            return _failed(row, Violation("device_id", "DUPLICATE_ROW", "an earlier row has this id and differs"))
        found = list(row.violations)
        if not row.token and self._mode.own_tokens_only:
            text = "no token, and nowhere to write a new one; name a file: --tokens-out FILE"
            found.append(Violation("token", "TOKEN_WOULD_BE_LOST", text))
        found += check_references(spec, self._world)
        if found:
            return Result(row.row, "failed", violations=tuple(found))
        placed = self._place(spec)
        if not self._scope.covers(placed.ward_code, spec.labels):
            return self._outside(row, placed)
        is_dry_run = self._mode.dry_run is not None
        made = "" if row.token or is_dry_run else tokens.new_token()
        is_gateway = self._world.types[spec.device_type].spec.is_gateway
        self._fresh[spec.device_id] = row
        self._new.append(_New(row, placed, row.token_sha256 if row.token else tokens.digest(made)))
        if spec.external_id:
            self._holders[spec.external_id] = spec.device_id
        if spec.device_id in self._named:
            self._gateways[spec.device_id] = Gateway(0, is_gateway, True)
        if is_dry_run:
            self._planned[spec.device_id] = Planned(is_gateway, content(spec, row.token))
            return Result(row.row, "created")
        return Result(row.row, "created", row.token if row.is_token_for_new else made)

    def _meet(self, row: Row, device: Device) -> Result:
        """The device exists."""
        if not device.is_active:
            text = f"the device is {device.state.name.lower()}; ids are never used again, choose another"
            return _failed(row, Violation("device_id", "DEVICE_DECOMMISSIONED", text))
        differing = [name for name in row.mask.fields if getattr(row.spec, name) != getattr(device.spec, name)]
        label_keys = [key for key in row.mask.label_keys if row.spec.labels.get(key) != device.spec.labels.get(key)]
        is_held = bool(row.token) and row.token_sha256 in self._held.get(device.device_num, ())
        is_other_token = bool(row.token) and not is_held and not row.is_token_for_new
        told = row.token if is_held and row.is_token_for_new else ""
        if not differing and not label_keys and not is_other_token:
            return Result(row.row, "unchanged", told)
        if not self._mode.update_existing:
            names = [*differing, *(f"labels.{key}" for key in label_keys), *(["token"] if is_other_token else [])]
            text = (
                f"the device exists and differs in {', '.join(names)}; --update-existing brings it to the row's state, "
                "or change it by `cityfleet device update`"
            )
            return _failed(row, Violation(names[0], "DEVICE_EXISTS_DIFFERENT", text))
        if is_other_token and (found := tokens.check_token(row.token)):
            return Result(row.row, "failed", violations=tuple(found))
        if device.device_num in self._changed:
            device = self._written(device)
        change = Change(row.spec, frozenset(differing), frozenset(label_keys))
        return self._change(row, device, with_change(device.spec, change), is_other_token) or Result(
            row.row, "updated", told
        )

    def _change(self, row: Row, device: Device, spec: DeviceSpec, is_other_token: bool) -> Result | None:
        """Bring the device to `spec`; what stands against it, or None."""
        if found := check_device(spec) + check_references(spec, self._world, device.spec):
            return Result(row.row, "failed", violations=tuple(found))
        placed = self._place(spec)
        if not self._scope.covers(placed.ward_code, spec.labels):
            return self._outside(row, placed)
        is_gateway = self._world.types[spec.device_type].spec.is_gateway
        if spec.device_type != device.spec.device_type:
            self.write()  # new devices may be behind it
            held = {} if is_gateway else behind(self._connection, [device.device_num])
            if held:
                return _refused(row, gateway_in_use(device, held[device.device_num], "cannot stop being a gateway"))
            if spec.device_id in self._gateways:
                self._gateways[spec.device_id] = Gateway(device.device_num, is_gateway, True)
        if spec.gateway and not self._gateways[spec.gateway].device_num:
            self.write()  # its gateway is new, too, and has no number yet
        token_sha256 = row.token_sha256 if is_other_token else b""
        self._changed[device.device_num] = _Changed(device, spec, placed, token_sha256)
        self._known[spec.device_id] = msgspec.structs.replace(device, spec=spec, placed=placed)
        if token_sha256:
            self._held[device.device_num] = [token_sha256]
        if spec.external_id != device.spec.external_id:
            self._holders.pop(device.spec.external_id, None)
            if spec.external_id:
                self._holders[spec.external_id] = spec.device_id
        return None

    def _written(self, device: Device) -> Device:
        """A device with a change that waits: it is written before there is another."""
        self.write()
        if self._mode.dry_run is None:
            self._known |= db.find_devices(self._connection, [device.spec.device_id])
        return self._known[device.spec.device_id]

    def _may_see(self, device: Device) -> bool:
        return self._scope.covers(device.placed.ward_code, device.spec.labels)

    @staticmethod
    def _outside(row: Row, placed: Placed) -> Result:
        text = str(outside(f"devices/{row.spec.device_id}", placed.ward_code))
        return _failed(row, Violation("ward_code", "OUT_OF_SCOPE", text))

    def _resolved(self, spec: DeviceSpec, placed: Placed) -> Resolved:
        return Resolved(
            spec=spec,
            type_num=self._world.types[spec.device_type].type_num,
            gateway_num=self._gateways[spec.gateway].device_num if spec.gateway else 0,
            site_num=self._world.sites[spec.site_id].site_num if spec.site_id else 0,
            placed=placed,
        )

    def _place(self, spec: DeviceSpec) -> Placed:
        site = self._world.sites.get(spec.site_id) if spec.site_id else None
        found = ""
        if not spec.ward_code and spec.latitude is not None:
            at = (spec.latitude, spec.longitude)
            found = self._wards[at] if at in self._wards else self._world.wards.locate(*at)
        return placed_in(spec, site, found)


def _wards_at(world: World, rows: Sequence[Row]) -> dict[tuple[float | None, float | None], str]:
    """The wards of all places at once: one by one the boundaries cost more than all the rest."""
    specs = [row.spec for row in rows if row.spec.latitude is not None and not row.spec.ward_code]
    places = list({(spec.latitude or 0.0, spec.longitude or 0.0) for spec in specs})
    found = world.wards.locate_many([place[0] for place in places], [place[1] for place in places])
    return dict(zip(places, found, strict=True))


def _failed(row: Row, violation: Violation) -> Result:
    return Result(row.row, "failed", violations=(violation,))


def _refused(row: Row, exc: RegistryError) -> Result:
    return _failed(row, Violation("", exc.reason, str(exc)))
