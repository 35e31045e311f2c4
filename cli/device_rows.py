"""Devices as rows: which columns which format shows."""

from collections.abc import Iterable
from typing import Any

from cityfleet.registry.v1 import device_pb2 as pb
from cli.output import OutputFormat, show, show_one
from cli.record import row_of

COLUMNS = ("device_id", "device_type", "state", "ward_code", "site_id", "gateway", "connectivity", "health", "labels")
WIDE = ("display_name", "site", "external_id", "hardware_revision", "health_reasons", "update_time")
CSV_COLUMNS = (
    "device_id",
    "device_num",
    "device_type",
    "display_name",
    "state",
    "gateway",
    "ward_code",
    "site_id",
    "site",
    "latitude",
    "longitude",
    "external_id",
    "hardware_revision",
    "labels",
    "connectivity",
    "health",
    "create_time",
    "update_time",
)


def show_devices(devices: Iterable[pb.Device], output: OutputFormat) -> None:
    rows = (row_of(device, "device_id") for device in devices)
    show(rows, COLUMNS, output, name="device_id", wide=WIDE, csv_columns=CSV_COLUMNS)


def show_device(device: pb.Device, output: OutputFormat, more: dict[str, Any] | None = None) -> None:
    """One device; `more` are keys beside its own."""
    extra = more or {}
    row = row_of(device, "device_id") | extra
    show_one(row, COLUMNS, output, name="device_id", wide=WIDE, csv_columns=(*CSV_COLUMNS, *extra))
