"""Metrics and device types: create, update, apply. Each function runs in one write transaction."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import catalogue as db
from registry.db import sequence
from registry.devices.decoder_rules import check_decoder
from registry.devices.model import DeviceType, Metric, TypeSpec
from registry.devices.rules import MAX_DESCRIPTION, check_metric_id, check_text, check_type, check_unit
from registry.devices.schemas import check_schemas, compact
from registry.devices.vectors import check_vectors
from registry.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    Violation,
)
from runtime.units import conversions

MAX_NUMBER = 65_535

# What a newcomer can measure at once: id, UCUM unit, description.
STARTER_METRICS = (
    ("water_level_m", "m", "Water level above the station's datum"),
    ("street_flood_depth_mm", "mm", "Depth of water on a street or underpass"),
    ("rain_mm", "mm", "Rain fallen since the reading before"),
    ("pm2_5_ug_m3", "ug/m3", "Mass concentration of particles below 2.5 µm"),
    ("pm10_ug_m3", "ug/m3", "Mass concentration of particles below 10 µm"),
    ("vehicle_count", "1", "Vehicles passed since the reading before"),
    ("speed_km_h", "km/h", "Mean speed of the vehicles passed"),
    ("occupancy_pct", "%", "Share of time in which a vehicle stood over the detector"),
    ("travel_time_s", "s", "Time that a vehicle takes along the measured stretch"),
    ("temperature_cel", "Cel", "Air temperature"),
    ("humidity_pct", "%", "Relative humidity"),
    ("battery_pct", "%", "Charge of the device's battery"),
    ("rssi_dbm", "dBm", "Strength of the received radio signal"),  # UCUM has no symbol for it; RFC 8798 does
    ("snr_db", "dB", "Signal-to-noise ratio of the received radio signal"),
    ("so2_ug_m3", "ug/m3", "Mass concentration of sulphur dioxide at 25 °C and 760 mmHg"),
    ("no2_ug_m3", "ug/m3", "Mass concentration of nitrogen dioxide at 25 °C and 760 mmHg"),
    ("o3_ug_m3", "ug/m3", "Mass concentration of ozone at 25 °C and 760 mmHg"),
    ("co_ug_m3", "ug/m3", "Mass concentration of carbon monoxide at 25 °C and 760 mmHg"),
    ("tsp_ug_m3", "ug/m3", "Mass concentration of all suspended particles"),
    ("wind_m_s", "m/s", "Mean wind speed"),
)


class Applied(msgspec.Struct, frozen=True):
    device_type: DeviceType
    outcome: Literal["created", "updated", "unchanged"]
    changed: tuple[str, ...] = ()


def etag(revision: int) -> str:
    """The etag of a row (RFC 9110 section 8.8.3: quoted)."""
    return f'"{revision}"'


def check_etag(name: str, given: str, revision: int) -> None:
    """Raises: EtagMismatchError if `given` is not empty and not the row's."""
    if given and given != etag(revision):
        raise EtagMismatchError(
            f"{name} has changed meanwhile: its etag is {etag(revision)}, not {given}; read it again and decide",
            metadata={"name": name, "etag": etag(revision), "given": given},
        )


def plant_starter_catalogue(connection: Connection) -> bool:
    """Create the starter metrics in a database that never had them; True if it did."""
    if not sequence.claim_starter_catalogue(connection):
        return False
    known = db.metric_nums(connection)
    new = [metric for metric in STARTER_METRICS if metric[0] not in known]
    if new:
        db.insert_metrics(connection, new, sequence.now_ms())
    return True


def create_metric(connection: Connection, metric_id: str, unit: str, description: str) -> Metric:
    """Raises: InvalidError, AlreadyExistsError, PreconditionError when all numbers are taken."""
    found = check_metric_id(metric_id) + check_unit(unit) + check_description(description)
    if found:
        raise InvalidError(found)
    if existing := db.find_metric(connection, metric_id):
        raise AlreadyExistsError(
            f"the metric {metric_id} exists with unit {existing.unit}; metrics are never replaced",
            metadata={"metric": metric_id, "unit": existing.unit},
        )
    if sequence.head_numbers(connection).metric_num >= MAX_NUMBER:
        raise PreconditionError(f"all {MAX_NUMBER} metric numbers are taken", reason="METRICS_EXHAUSTED")
    db.insert_metrics(connection, [(metric_id, unit, description)], sequence.now_ms())
    metric = get_metric(connection, metric_id)
    changed(f"metrics/{metric_id}", None, _plain(metric))
    return metric


def update_metric(
    connection: Connection, metric_id: str, unit: str, description: str | None, given_etag: str, *, allow_missing: bool
) -> Metric:
    """Describe a metric anew, or create it.

    Args:
        unit: to create it with; of one that is there it cannot be another; empty: as it is.
        description: None: as it is.
    Raises: InvalidError, NotFoundError, EtagMismatchError, and what create_metric raises.
    """
    if allow_missing and db.find_metric(connection, metric_id) is None:
        check_etag(f"metrics/{metric_id}", given_etag, 0)
        return create_metric(connection, metric_id, unit, description or "")
    if found := check_description(description or ""):
        raise InvalidError(found)
    metric = get_metric(connection, metric_id)
    check_etag(f"metrics/{metric_id}", given_etag, metric.revision)
    if unit and unit != metric.unit:
        text = f"{metric_id} is stored in {metric.unit} for ever; create another metric for {unit}"
        raise InvalidError([Violation("metric.unit", "UNIT_IMMUTABLE", text)])
    if description is None or description == metric.description:
        return metric
    db.update_metric(connection, metric.metric_num, description, sequence.now_ms())
    updated = get_metric(connection, metric_id)
    changed(f"metrics/{metric_id}", _plain(metric), _plain(updated))
    return updated


def get_metric(connection: Connection, metric_id: str) -> Metric:
    """Raises: NotFoundError."""
    metric = db.find_metric(connection, metric_id)
    if metric is None:
        text = f"there is no metric {metric_id}; `cityfleet metric list` shows the catalogue"
        raise NotFoundError(text, reason="METRIC_NOT_FOUND", metadata={"metric": metric_id})
    return metric


def get_type(connection: Connection, type_id: str) -> DeviceType:
    """Raises: NotFoundError."""
    found = db.find_type(connection, type_id)
    if found is None:
        text = f"there is no device type {type_id}; `cityfleet type list` shows those there are"
        raise NotFoundError(text, reason="DEVICE_TYPE_NOT_FOUND", metadata={"device_type": type_id})
    return found


def _plan_type(connection: Connection, spec: TypeSpec, given_etag: str) -> Applied:
    """What apply_type will do, with the specification as it will be stored."""
    spec = _as_stored(spec)
    units = db.metric_units(connection)
    found = check_type(spec, units) or [*check_source_units(spec, units), *check_decoder(spec), *check_schemas(spec)]
    if found := found or list(check_vectors(spec, units)):
        raise InvalidError(found)
    current = db.find_type(connection, spec.type_id)
    if current is None:
        check_etag(f"deviceTypes/{spec.type_id}", given_etag, 0)
        if former := db.find_type(connection, spec.type_id, is_deleted=True):
            return Applied(msgspec.structs.replace(former, spec=spec, version=former.version + 1), "created")
        if sequence.head_numbers(connection).type_num >= MAX_NUMBER:
            raise PreconditionError(f"all {MAX_NUMBER} type numbers are taken", reason="TYPES_EXHAUSTED")
        return Applied(DeviceType(0, spec, 1, 0, 0, 0, 0), "created")
    check_etag(f"deviceTypes/{spec.type_id}", given_etag, current.revision)
    differing = tuple(name for name in TypeSpec.__struct_fields__ if getattr(spec, name) != getattr(current.spec, name))
    if not differing:
        return Applied(current, "unchanged")
    if "is_gateway" in differing:
        _check_gateway_change(connection, current, spec)
    if "hardware_revisions" in differing:
        _check_hardware_change(connection, current, spec)
    planned = msgspec.structs.replace(current, spec=spec, version=current.version + 1)
    return Applied(planned, "updated", differing)


def apply_type(connection: Connection, spec: TypeSpec, given_etag: str) -> Applied:
    """Create the type or bring it to `spec`; a deleted one comes back as its next version.

    Raises: InvalidError, EtagMismatchError, PreconditionError.
    """
    plan = _plan_type(connection, spec, given_etag)
    if plan.outcome == "unchanged":
        return plan
    former = db.find_type(connection, spec.type_id, is_deleted=plan.outcome == "created")
    if former is None:
        db.insert_type(connection, plan.device_type.spec, sequence.now_ms())
    else:
        db.update_type(connection, former, plan.device_type.spec, sequence.now_ms())
    before = former.spec if former is not None and plan.outcome == "updated" else None
    changed(f"deviceTypes/{spec.type_id}", before, plan.device_type.spec)
    return msgspec.structs.replace(plan, device_type=get_type(connection, spec.type_id))


def get_type_version(connection: Connection, type_id: str, version: int) -> DeviceType:
    """The type as it was then. Raises: NotFoundError."""
    found = type_versions(connection, type_id, version + 1, 1)
    if not found or found[0].version != version:
        raise NotFoundError(
            f"{type_id} has no version {version}, or it was not kept; `cityfleet type revisions {type_id}` shows all",
            reason="DEVICE_TYPE_REVISION_NOT_FOUND",
            metadata={"device_type": type_id, "version": str(version)},
        )
    return found[0]


def type_versions(connection: Connection, type_id: str, below: int, limit: int) -> list[DeviceType]:
    """Versions below `below`, the newest first, with the present one; `update_time_ms`: when each began.

    Raises: NotFoundError if there is no such type.
    """
    current = get_type(connection, type_id)
    former = db.former_versions(connection, current, below, limit)
    return [current, *former][:limit] if current.version < below else former


def delete_type(connection: Connection, type_id: str, given_etag: str) -> None:
    """Its number and its versions stay; applied again it is there again, as its next version.

    Raises: NotFoundError, EtagMismatchError, PreconditionError while devices have it.
    """
    current = get_type(connection, type_id)
    check_etag(f"deviceTypes/{type_id}", given_etag, current.revision)
    if device_id := db.device_of_type(connection, current.type_num):
        raise PreconditionError(
            f"the device {device_id} is of the type {type_id}; give its devices another type or purge them first",
            reason="DEVICE_TYPE_IN_USE",
            metadata={"device_type": type_id, "device": device_id},
        )
    db.delete_type(connection, current.type_num)
    changed(f"deviceTypes/{type_id}", current.spec, None)


def check_source_units(spec: TypeSpec, units: Mapping[str, str]) -> list[Violation]:
    """Args: units: canonical unit by metric, of the whole catalogue."""
    found = []
    for at, entry in enumerate(spec.metrics):
        canonical = units[entry.metric]
        known = {canonical, *(unit for unit, _, _ in conversions(canonical))}
        if entry.source_unit and entry.source_unit not in known:
            text = f"`{entry.source_unit}` cannot be converted to {canonical}; one of {', '.join(sorted(known))}"
            found.append(Violation(f"metrics[{at}].source_unit", "UNIT_NOT_CONVERTIBLE", text))
    return found


def _as_stored(spec: TypeSpec) -> TypeSpec:
    """The same schemas are the same text."""
    commands = (
        msgspec.structs.replace(
            entry,
            parameters_schema=compact(entry.parameters_schema),
            result_schema=compact(entry.result_schema),
        )
        for entry in spec.commands
    )
    return msgspec.structs.replace(spec, config_schema=compact(spec.config_schema), commands=tuple(commands))


def _plain(metric: Metric) -> dict[str, str]:
    return {"unit": metric.unit, "description": metric.description}


def check_description(description: str) -> list[Violation]:
    return check_text("description", description, MAX_DESCRIPTION)


def _check_hardware_change(connection: Connection, current: DeviceType, spec: TypeSpec) -> None:
    removed = set(current.spec.hardware_revisions) - set(spec.hardware_revisions)
    if removed and (device_id := db.device_of_type(connection, current.type_num, removed)):
        raise PreconditionError(
            f"hardware_revisions of {spec.type_id}: the device {device_id} has one that would be taken away "
            f"({', '.join(sorted(removed))}); change the device first",
            reason="HARDWARE_REVISION_IN_USE",
            metadata={"device_type": spec.type_id, "device": device_id},
        )


def _check_gateway_change(connection: Connection, current: DeviceType, spec: TypeSpec) -> None:
    if spec.is_gateway:
        device_id = db.grouped_type(connection, current.type_num)
        problem = "is registered behind a gateway, and a gateway cannot be"
    else:
        device_id = db.gateway_in_use(connection, current.type_num)
        problem = "is registered behind a gateway of this type"
    if device_id is not None:
        raise PreconditionError(
            f"is_gateway of {spec.type_id} cannot change while the device {device_id} {problem}; move it first",
            reason="GATEWAY_IN_USE",
            metadata={"device_type": spec.type_id, "device": device_id},
        )
