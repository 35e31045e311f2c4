"""The dimension tables as ClickHouse has them: columns, types and how a row is made."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from vietnam_provinces import __data_version__ as WARDS_DATE

from registry.db.dimensions import DimensionRow, ReportedRow, SiteRow
from registry.devices.model import DeviceType, Metric
from registry.devices.wards import PROVINCE_CODE, Ward

_TIME = "DateTime64(3, 'UTC')"
_json = msgspec.json.Encoder()


class Table(msgspec.Struct, frozen=True):
    """`columns` are (name, ClickHouse type); `row` makes their values."""

    name: str
    columns: tuple[tuple[str, str], ...]
    row: Callable[[Any], Sequence[object]]


def _device(device: DimensionRow) -> Sequence[object]:
    return (
        device.device_num,
        device.device_id,
        device.device_type,
        device.display_name,
        device.ward_code,
        device.site,
        device.site_id,
        device.gateway_id,
        device.latitude,
        device.longitude,
        device.labels,
        device.hardware_revision,
        device.state,
        device.expected_interval_s,
        _time(device.create_time_ms),
        _time(device.update_time_ms),
        device.version,
    )


def _site(site: SiteRow) -> Sequence[object]:
    return (
        site.site_num,
        site.site_id,
        site.display_name,
        site.kind,
        site.latitude,
        site.longitude,
        site.ward_code,
        site.labels,
        site.state,
        _time(site.create_time_ms),
        _time(site.update_time_ms),
        site.revision,
    )


def _reported(row: ReportedRow) -> Sequence[object]:
    day = date.fromisoformat(row.last_calibration) if row.last_calibration else date(1970, 1, 1)
    return (row.device_num, row.ward_code, row.firmware_version, row.config_version, day, row.version)


def _type(given: tuple[DeviceType, Mapping[str, int]]) -> Sequence[object]:
    """Args: given: a type, and the numbers of metrics by name."""
    kind, numbers = given
    spec, entries = kind.spec, kind.spec.metrics
    return (
        kind.type_num,
        spec.type_id,
        spec.display_name,
        spec.is_gateway,
        spec.expected_interval_s,
        [numbers[entry.metric] for entry in entries],
        [entry.expected_interval_s for entry in entries],
        [entry.min_value for entry in entries],
        [entry.max_value for entry in entries],
        [entry.resolution for entry in entries],
        [_json.encode(entry.tests).decode() for entry in entries],
        kind.revision,
    )


def _metric(metric: Metric) -> Sequence[object]:
    return (metric.metric_num, metric.metric_id, metric.unit, metric.description, metric.revision)


def _ward(ward: Ward) -> Sequence[object]:
    # The date of the list is its version: a newer list replaces the rows of an older one.
    return (ward.code, ward.name, ward.kind, PROVINCE_CODE, int(WARDS_DATE.replace("-", "")))


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


DEVICES = Table(
    "devices",
    (
        ("device_num", "UInt32"),
        ("device_id", "String"),
        ("device_type", "String"),
        ("display_name", "String"),
        ("ward_code", "String"),
        ("site", "String"),
        ("site_id", "String"),
        ("gateway_id", "String"),
        ("latitude", "Nullable(Float64)"),
        ("longitude", "Nullable(Float64)"),
        ("labels", "Map(String, String)"),
        ("hardware_revision", "String"),
        ("state", "LowCardinality(String)"),
        ("expected_interval_s", "UInt32"),
        ("create_time", _TIME),
        ("update_time", _TIME),
        ("version", "UInt64"),
    ),
    _device,
)
REPORTED = Table(
    "device_reported",
    (
        ("device_num", "UInt32"),
        ("ward_code", "LowCardinality(String)"),
        ("firmware_version", "LowCardinality(String)"),
        ("config_version", "UInt64"),
        ("last_calibration", "Date"),
        ("version", "UInt64"),
    ),
    _reported,
)
SITES = Table(
    "sites",
    (
        ("site_num", "UInt32"),
        ("site_id", "String"),
        ("display_name", "String"),
        ("kind", "LowCardinality(String)"),
        ("latitude", "Nullable(Float64)"),
        ("longitude", "Nullable(Float64)"),
        ("ward_code", "String"),
        ("labels", "Map(String, String)"),
        ("state", "LowCardinality(String)"),
        ("create_time", _TIME),
        ("update_time", _TIME),
        ("version", "UInt64"),
    ),
    _site,
)
TYPES = Table(
    "device_types",
    (
        ("type_num", "UInt16"),
        ("device_type", "String"),
        ("display_name", "String"),
        ("is_gateway", "Bool"),
        ("expected_interval_s", "UInt32"),
        ("metric_nums", "Array(UInt16)"),
        ("metric_intervals_s", "Array(UInt32)"),
        ("metric_min_values", "Array(Nullable(Float64))"),
        ("metric_max_values", "Array(Nullable(Float64))"),
        ("metric_resolutions", "Array(Float64)"),
        ("metric_tests", "Array(String)"),
        ("version", "UInt64"),
    ),
    _type,
)
METRICS = Table(
    "metrics",
    (
        ("metric_num", "UInt16"),
        ("metric", "String"),
        ("unit", "String"),
        ("description", "String"),
        ("version", "UInt64"),
    ),
    _metric,
)
WARDS = Table(
    "wards",
    (
        ("ward_code", "String"),
        ("name", "String"),
        ("kind", "String"),
        ("province_code", "String"),
        ("version", "UInt64"),
    ),
    _ward,
)
