"""Native blocks of our tables from rows in plain Python, as ext/clickhouse seals them."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from ext.clickhouse.quarantine_block import COLUMNS as QUARANTINE
from ext.clickhouse.readings_block import COLUMNS as READINGS
from ext.clickhouse.text_block import COLUMNS as TEXTS
from tests.support.native_twin import NUMBERS


class Reading(NamedTuple):
    device_num: int
    ts_ms: int
    value: float
    metric_num: int = 1
    quality: int = 1
    quality_reasons: int = 0
    ward_code: str = "00070"
    received_ms: int = 1_780_000_000_000


class Text(NamedTuple):
    device_num: int
    ts_ms: int
    value: bytes
    metric_num: int = 2
    kind: int = 1
    quality: int = 2
    ward_code: str = "00070"
    received_ms: int = 1_780_000_000_000


class Refused(NamedTuple):
    received_ms: int
    payload: bytes
    readings: int = 1
    device_id: str = "wl-1"
    topic: str = "t"
    transport: str = "mqtt"
    encoding: str = "senml-json"
    reason: str = "malformed_payload"
    detail: str = "what was found"


_FIELDS = {"ts": "ts_ms", "received_at": "received_ms"}


def readings(rows: Sequence[Reading]) -> bytes:
    return _block(READINGS, rows)


def texts(rows: Sequence[Text]) -> bytes:
    return _block(TEXTS, rows)


def quarantine(rows: Sequence[Refused]) -> bytes:
    return _block(QUARANTINE, rows)


def _block(columns: Sequence[tuple[bytes, bytes, int]], rows: Sequence[Any]) -> bytes:
    if not rows:
        return b""
    out = _varint(len(columns)) + _varint(len(rows))
    for name, type_, _ in columns:
        column = name.decode()
        values = [getattr(row, _FIELDS.get(column, column)) for row in rows]
        out += _string(name) + _string(type_) + _column(type_.decode(), values)
    return out


def _column(type_: str, values: list[Any]) -> bytes:
    if type_ == "LowCardinality(String)":
        keys = list(dict.fromkeys(values))
        wide = len(keys) > 256
        out = struct.pack("<QQQ", 1, 3 << 9 | wide, len(keys)) + b"".join(_string(key) for key in keys)
        return out + struct.pack(f"<Q{len(values)}{'H' if wide else 'B'}", len(values), *map(keys.index, values))
    if type_ == "String":
        return b"".join(map(_string, values))
    return struct.pack(f"<{len(values)}{'b' if type_.startswith('Enum8') else NUMBERS[type_]}", *values)


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))
