"""The dimension tables as ClickHouse has them: columns, types and how a row is made."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from vietnam_provinces import __data_version__ as WARDS_DATE

from registry.db.dimensions import DimensionRow
from registry.devices.model import Metric
from registry.devices.wards import PROVINCE_CODE, Ward

_TIME = "DateTime64(3, 'UTC')"


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
        device.gateway_id,
        device.latitude,
        device.longitude,
        device.labels,
        "active" if device.is_active else "decommissioned",
        device.expected_interval_s,
        _time(device.create_time_ms),
        _time(device.update_time_ms),
        device.version,
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
        ("gateway_id", "String"),
        ("latitude", "Nullable(Float64)"),
        ("longitude", "Nullable(Float64)"),
        ("labels", "Map(String, String)"),
        ("state", "LowCardinality(String)"),
        ("expected_interval_s", "UInt32"),
        ("create_time", _TIME),
        ("update_time", _TIME),
        ("version", "UInt64"),
    ),
    _device,
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
