"""Devices as bytes of a file: CSV or NDJSON, both as `cityfleet import devices` takes them."""

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

import msgspec

from cityfleet.registry.v1 import device_pb2 as pb
from cli.record import enum_word, row_of

# A head (empty: none), and the bytes of some devices.
Format: TypeAlias = tuple[bytes, Callable[[Iterable[pb.Device]], bytes]]

_FIELDS = pb.Device.DESCRIPTOR.fields_by_name
_TEXTS = ("device_type", "display_name", "gateway", "ward_code", "site_id", "site", "hardware_revision", "external_id")
_FLAGS = ("is_ward_derived", "is_place_derived")
_PLACE: tuple[Literal["latitude", "longitude"], ...] = ("latitude", "longitude")
_WORDS = ("state", "connectivity", "health")
_TIMES = ("create_time", "update_time", "delete_time", "purge_time")
_REPORTED_TEXTS = ("firmware_version", "config_version", "hardware_revision", "disconnect_reason")
_REPORTED_TIMES = ("connect_time", "disconnect_time", "last_seen_time", "last_reading_time")
COLUMNS = (
    "device_id",
    *_TEXTS,
    *_PLACE,
    *_FLAGS,
    "labels",
    "device_num",
    *_WORDS,
    "health_reasons",
    *_TIMES,
    *(f"reported.{name}" for name in (*_REPORTED_TEXTS, *_REPORTED_TIMES)),
)


def csv_format() -> Format:
    """One row a device, labels as a JSON object, times in RFC 3339."""
    return _csv_bytes([COLUMNS]), lambda devices: _csv_bytes(_cells(device) for device in devices)


def ndjson_format() -> Format:
    """One JSON object a line, with every field."""
    return b"", lambda devices: b"".join(msgspec.json.encode(row_of(each, "device_id")) + b"\n" for each in devices)


def _csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _cells(device: pb.Device) -> list[Any]:
    cells: list[Any] = [device.name.removeprefix("devices/")]
    cells += [getattr(device, name) for name in _TEXTS]
    cells += [repr(getattr(device, name)) if device.HasField(name) else "" for name in _PLACE]
    cells += ["true" if getattr(device, name) else "" for name in _FLAGS]
    cells.append(msgspec.json.encode(dict(device.labels), order="sorted").decode() if device.labels else "")
    cells.append(device.device_num)
    cells += [enum_word(_FIELDS[name], getattr(device, name)) for name in _WORDS]
    cells.append(" ".join(device.health_reasons))
    cells += [_time(device, name) for name in _TIMES]
    reported = device.reported
    cells += [getattr(reported, name) or "" for name in _REPORTED_TEXTS]
    cells += [_time(reported, name) for name in _REPORTED_TIMES]
    return cells


def _time(message: pb.Device | pb.ReportedState, name: Any) -> str:
    return getattr(message, name).ToJsonString() if message.HasField(name) else ""
