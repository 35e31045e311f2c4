"""Rows that the store refused, as rows of quarantine."""

import datetime as dt
import hashlib
import uuid
import zlib
from collections.abc import Iterator, Mapping

import msgspec

from ingest.write.native_rows import NativeRows, Value

REASON = "refused_by_store"
COLUMNS = (
    ("id", "UUID"),
    ("received_at", "DateTime64(3, 'UTC')"),
    ("device_id", "String"),
    ("topic", "String"),
    ("transport", "LowCardinality(String)"),
    ("encoding", "LowCardinality(String)"),
    ("reason", "LowCardinality(String)"),
    ("detail", "String"),
    ("readings", "UInt32"),
    ("payload", "String"),
)
_CHUNK_ROWS = 2_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Row = tuple[object, ...]


def quarantine_rows(
    segment: str, table: str, rows: NativeRows, refused: Mapping[int, str], devices: Mapping[int, str]
) -> Iterator[tuple[list[Row], str]]:
    """Some rows at a time, and the token to insert them under; the same refusals give the same.

    The payload is the row as JSON; what is not UTF-8 in it is {"base64": ...}. A row of quarantine itself keeps all but
    its payload and the words that came with it, for one of these must be what the store refuses.
    """
    numbers = sorted(refused)
    for at in range(0, len(numbers), _CHUNK_ROWS):
        chunk = numbers[at : at + _CHUNK_ROWS]
        made = [_row(segment, table, number, rows.row(number), refused[number], devices) for number in chunk]
        crc = zlib.crc32(repr(made).encode())
        yield made, f"{segment}-{table}!{chunk[0]}-{chunk[-1]}-{crc:08x}"


def _row(
    segment: str, table: str, number: int, row: Mapping[str, Value], reason: str, devices: Mapping[int, str]
) -> Row:
    received = _moment(row.get("received_at"))
    known = row.get("readings")
    readings = known if table == "quarantine" and isinstance(known, int) else 1
    device_num = row.get("device_num")
    return (
        _id(received, f"{segment}-{table}-{number}"),
        received,
        devices.get(device_num, "") if isinstance(device_num, int) else "",
        "",
        "",
        "row",
        REASON,
        f"cityfleet.{table}: {reason}",
        readings,
        b"" if table == "quarantine" else msgspec.json.encode({name: _plain(value) for name, value in row.items()}),
    )


def _plain(value: Value) -> object:
    if isinstance(value, float) and not -1e308 * 10 < value < 1e308 * 10:
        return str(value)  # JSON has no NaN and no infinity
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": value}
    return value


def _moment(text: Value | None) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text) if isinstance(text, str) else _EPOCH
    except ValueError:
        return _EPOCH


def _id(received: dt.datetime, name: str) -> uuid.UUID:
    """UUID version 7 of the time of arrival; what is random in others follows from the row's place."""
    milliseconds = max(0, (received - _EPOCH) // dt.timedelta(milliseconds=1))
    rest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:10], "big")
    number = (milliseconds & (1 << 48) - 1) << 80 | rest
    number = number & ~(0xF << 76) | 7 << 76
    return uuid.UUID(int=number & ~(3 << 62) | 2 << 62)
