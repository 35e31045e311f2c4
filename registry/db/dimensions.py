"""What the dimensions in ClickHouse hold, read in pieces, and how far they have been brought."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from registry.db import catalogue
from registry.db.schema import (
    device_state,
    device_state_documents,
    device_types,
    devices,
    metrics,
    purged_devices,
    sites,
    sync_positions,
)
from registry.devices.model import DeviceType, State

CONSUMER = "clickhouse"
_gateway = devices.alias("gateway")
_SELECT = (
    select(
        devices,
        device_types.c.type_id,
        device_types.c.expected_interval_s,
        device_types.c.dimension_revision,
        func.coalesce(_gateway.c.device_id, "").label("gateway_id"),
        func.coalesce(sites.c.site_id, "").label("site_id"),
    )
    .join(device_types, device_types.c.type_num == devices.c.type_num)
    .outerjoin(_gateway, _gateway.c.device_num == devices.c.gateway_num)
    .outerjoin(sites, sites.c.site_num == devices.c.site_num)
)
_labels_decoder = msgspec.json.Decoder(dict[str, str])


class DimensionRow(msgspec.Struct, frozen=True):
    """One device. `version` grows when the device changes, and when its type changes a column that is copied here."""

    device_num: int
    device_id: str
    device_type: str
    display_name: str
    ward_code: str
    site: str
    site_id: str
    gateway_id: str
    latitude: float | None
    longitude: float | None
    labels: dict[str, str]
    hardware_revision: str
    state: str
    expected_interval_s: int
    create_time_ms: int
    update_time_ms: int
    version: int
    revision: int


class SiteRow(msgspec.Struct, frozen=True):
    site_num: int
    site_id: str
    display_name: str
    kind: str
    latitude: float | None
    longitude: float | None
    ward_code: str
    labels: dict[str, str]
    state: str
    create_time_ms: int
    update_time_ms: int
    revision: int


class ReportedRow(msgspec.Struct, frozen=True):
    """What a device said of itself, and where it stands. `version` grows when either changes."""

    device_num: int
    ward_code: str
    firmware_version: str
    config_version: int
    last_calibration: str
    version: int


class Expected(msgspec.Struct, frozen=True):
    """Numbers of rows."""

    devices: int
    metrics: int
    types: int
    sites: int
    reported: int


def rows_between(connection: Connection, after: int, until: int, limit: int) -> list[DimensionRow]:
    """Devices changed after the revision `after`, up to and with `until`, in the order of their change."""
    query = _SELECT.where(devices.c.revision > after, devices.c.revision <= until)
    return _rows(connection, query.order_by(devices.c.revision).limit(limit))


def purged_between(connection: Connection, after: int, until: int, limit: int) -> list[DimensionRow]:
    """Devices purged after the revision `after`, up to and with `until`, in that order: what is left of them, by which
    the readings that they sent are still told apart."""
    query = (
        select(purged_devices, device_types.c.type_id, device_types.c.expected_interval_s)
        .join(device_types, device_types.c.type_num == purged_devices.c.type_num)
        .where(purged_devices.c.revision > after, purged_devices.c.revision <= until)
        .order_by(purged_devices.c.revision)
        .limit(limit)
    )
    return [
        DimensionRow(
            device_num=row.device_num,
            device_id=row.device_id,
            device_type=row.type_id,
            display_name="",
            ward_code=row.ward_code,
            site="",
            site_id="",
            gateway_id="",
            latitude=None,
            longitude=None,
            labels={},
            hardware_revision="",
            state="deleted",
            expected_interval_s=row.expected_interval_s,
            create_time_ms=row.create_time_ms,
            update_time_ms=row.purge_time_ms,
            version=row.revision,
            revision=row.revision,
        )
        for row in connection.execute(query)
    ]


def rows_of_changed_types(connection: Connection, revision: int, after_num: int, limit: int) -> list[DimensionRow]:
    """Devices that have not changed after `revision` themselves, but whose type has, in the order of their numbers."""
    query = _SELECT.where(
        device_types.c.dimension_revision > revision, devices.c.revision <= revision, devices.c.device_num > after_num
    )
    return _rows(connection, query.order_by(devices.c.device_num).limit(limit))


def sites_between(connection: Connection, after: int, until: int, limit: int) -> list[SiteRow]:
    """Sites changed after the revision `after`, up to and with `until`, in the order of their change."""
    query = select(sites).where(sites.c.revision > after, sites.c.revision <= until)
    rows = connection.execute(query.order_by(sites.c.revision).limit(limit))
    return [
        SiteRow(
            site_num=row.site_num,
            site_id=row.site_id,
            display_name=row.display_name,
            kind=row.kind,
            latitude=row.latitude,
            longitude=row.longitude,
            ward_code=row.ward_code,
            labels=_labels_of(row.labels),
            state="active" if row.delete_time_ms is None else "deleted",
            create_time_ms=row.create_time_ms,
            update_time_ms=row.update_time_ms,
            revision=row.revision,
        )
        for row in rows
    ]


def types_since(connection: Connection, revision: int) -> tuple[list[DeviceType], dict[str, int]]:
    """Types changed after `revision`, and the numbers of all metrics by name."""
    return catalogue.types_since(connection, revision), catalogue.metric_nums(connection)


_REPORTED = (
    select(
        devices.c.device_num,
        devices.c.ward_code,
        devices.c.revision,
        device_state.c.firmware_version,
        device_state.c.config_version,
        device_state_documents.c.last_calibration,
        device_state_documents.c.reported_revision,
    )
    .join(device_state, device_state.c.device_num == devices.c.device_num)
    .join(device_state_documents, device_state_documents.c.device_num == devices.c.device_num)
)


def reported_between(
    connection: Connection, after: int, until: int, from_num: int, limit: int
) -> list[tuple[int, ReportedRow]]:
    """What devices reported in revisions `after` (of this one only devices above `from_num`) to `until`, in that order,
    each with its revision: many devices have the same."""
    revision, number = device_state_documents.c.reported_revision, device_state_documents.c.device_num
    query = _REPORTED.where(revision >= after, (revision > after) | (number > from_num), revision <= until)
    rows = connection.execute(query.order_by(revision, number).limit(limit))
    return [(row.reported_revision, _reported(row)) for row in rows]


def reported_of_changed(
    connection: Connection, after: int, until: int, limit: int, told_after: int
) -> list[tuple[int, ReportedRow]]:
    """The same of devices that have changed themselves and may stand elsewhere; not of those that reported after
    `told_after`."""
    query = _REPORTED.where(
        devices.c.revision > after,
        devices.c.revision <= until,
        device_state_documents.c.reported_revision <= told_after,
    )
    rows = connection.execute(query.order_by(devices.c.revision).limit(limit))
    return [(row.revision, _reported(row)) for row in rows]


def _reported(row: Row[*tuple[Any, ...]]) -> ReportedRow:
    version = max(row.revision, row.reported_revision)
    return ReportedRow(
        row.device_num, row.ward_code, row.firmware_version, row.config_version, row.last_calibration, version
    )


def position(connection: Connection) -> int:
    """The revision up to which ClickHouse has everything; 0 at the beginning."""
    query = select(sync_positions.c.revision).where(sync_positions.c.consumer == CONSUMER)
    return connection.execute(query).scalar_one_or_none() or 0


def expected(connection: Connection, revision: int) -> Expected:
    """What ClickHouse has at least, once everything up to `revision` was written."""
    counts = [
        connection.execute(select(func.count()).where(column <= revision)).scalar_one()
        for column in (
            devices.c.revision,
            purged_devices.c.revision,
            metrics.c.revision,
            device_types.c.revision,
            sites.c.revision,
            device_state_documents.c.reported_revision,
        )
    ]
    return Expected(counts[0] + counts[1], *counts[2:])


def set_position(connection: Connection, revision: int) -> None:
    connection.execute(delete(sync_positions).where(sync_positions.c.consumer == CONSUMER))
    connection.execute(insert(sync_positions).values(consumer=CONSUMER, revision=revision))


def _rows(connection: Connection, query: Select[Any]) -> list[DimensionRow]:
    return [_row(row) for row in connection.execute(query)]


def _labels_of(text: str) -> dict[str, str]:
    return {} if text == "{}" else _labels_decoder.decode(text)


def _row(row: Row[Any]) -> DimensionRow:
    return DimensionRow(
        device_num=row.device_num,
        device_id=row.device_id,
        device_type=row.type_id,
        display_name=row.display_name,
        ward_code=row.ward_code,
        site=row.site,
        site_id=row.site_id,
        gateway_id=row.gateway_id,
        latitude=row.latitude,
        longitude=row.longitude,
        labels=_labels_of(row.labels),
        hardware_revision=row.hardware_revision,
        state=State(row.state).name.lower(),
        expected_interval_s=row.expected_interval_s,
        create_time_ms=row.create_time_ms,
        update_time_ms=row.update_time_ms,
        version=max(row.revision, row.dimension_revision),
        revision=row.revision,
    )
