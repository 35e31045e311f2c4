"""Rows of Native blocks by number: cut out as Native again, or read as values. For what was refused, not for speed."""

import datetime as dt
import re
import struct
import uuid
from array import array
from bisect import bisect_right
from collections.abc import Iterator

_NUMBERS = {
    "UInt8": "<B",
    "UInt16": "<H",
    "UInt32": "<I",
    "UInt64": "<Q",
    "Int8": "<b",
    "Int16": "<h",
    "Int32": "<i",
    "Int64": "<q",
    "Float32": "<f",
    "Float64": "<d",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# SerializationLowCardinality: version, flags and index width, keys; see ext/clickhouse/native.pyx
_DICTIONARY = struct.Struct("<QQQ")
_LONGEST_VARINT = 10

Value = int | float | str | bytes


class NativeRows:
    """All rows of any number of blocks one after the other, numbered from 0; blocks are views into `data`."""

    def __init__(self, data: bytes | memoryview) -> None:
        """Raises: ValueError if this is not Native, is cut short, or has a type that is not known here."""
        view = memoryview(data)
        self._blocks: list[_Block] = []
        self._ends: list[int] = []
        at = rows = 0
        while at < len(view):
            block = _Block(view, at)
            at = block.end
            rows += block.rows
            self._blocks.append(block)
            self._ends.append(rows)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def fixed_columns(self) -> dict[str, memoryview]:
        """The bytes of the columns of fixed width, by name. Raises: ValueError if there is more than one block."""
        if len(self._blocks) != 1:
            raise ValueError("more than one Native block")
        return self._blocks[0].fixed_columns()

    def cut(self, first: int, end: int) -> bytes:
        """Rows `first` to `end` (without) as Native blocks; 0 <= first < end <= len."""
        parts: list[bytes | memoryview] = []
        before = 0
        for block, ends in zip(self._blocks, self._ends, strict=True):
            low, high = max(first, before) - before, min(end, ends) - before
            if low < high:
                parts += block.cut(low, high)
            before = ends
        return b"".join(parts)

    def row(self, number: int) -> dict[str, Value]:
        """One row by column: String as bytes, DateTime64 and Enum as text."""
        at = bisect_right(self._ends, number)
        return self._blocks[at].row(number - (self._ends[at - 1] if at else 0))


class _Block:
    def __init__(self, data: memoryview, at: int) -> None:
        reader = _Reader(data, at)
        columns, self.rows = reader.varint(), reader.varint()
        self._columns: list[tuple[bytes, str, _Column]] = []
        for _ in range(columns):
            name, type_ = str(reader.string(), "utf-8"), str(reader.string(), "utf-8")
            head = _string(name) + _string(type_)
            self._columns.append((head, name, _column(type_, reader, self.rows)))
        self.end = reader.at

    def fixed_columns(self) -> dict[str, memoryview]:
        return {name: column.data for _, name, column in self._columns if isinstance(column, _Fixed)}

    def cut(self, low: int, high: int) -> Iterator[bytes | memoryview]:
        yield _varint(len(self._columns)) + _varint(high - low)
        for head, _, column in self._columns:
            yield head
            yield from column.cut(low, high)

    def row(self, number: int) -> dict[str, Value]:
        return {name: column.value(number) for _, name, column in self._columns}


class _Reader:
    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            raise ValueError("a Native block is cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = 0
        for at in range(_LONGEST_VARINT):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * at
            if byte < 0x80:
                return value
        raise ValueError("a Native block has a number that is too long")

    def string(self) -> memoryview:
        return self.take(self.varint())


class _Column:
    def cut(self, low: int, high: int) -> Iterator[bytes | memoryview]:
        raise NotImplementedError

    def value(self, row: int) -> Value:
        raise NotImplementedError


class _Fixed(_Column):
    def __init__(self, type_: str, width: int, reader: _Reader, rows: int) -> None:
        self._type = type_
        self._width = width
        self.data = reader.take(width * rows)

    def cut(self, low: int, high: int) -> Iterator[bytes | memoryview]:
        yield self.data[low * self._width : high * self._width]

    def value(self, row: int) -> Value:
        raw = self.data[row * self._width : (row + 1) * self._width]
        if self._type in _NUMBERS:
            found: int | float = struct.unpack(_NUMBERS[self._type], raw)[0]
            return found
        if self._type == "UUID":
            high, low = struct.unpack("<QQ", raw)
            return str(uuid.UUID(int=high << 64 | low))
        number = int.from_bytes(raw, "little", signed=True)
        if self._type.startswith("DateTime64"):
            return _time(number)
        names: dict[int, str] = {int(value): name for name, value in re.findall(r"'([^']*)' = (-?\d+)", self._type)}
        return names.get(number, str(number))


class _Strings(_Column):
    def __init__(self, reader: _Reader, rows: int) -> None:
        if rows > len(reader.data) - reader.at:
            raise ValueError("a Native block is cut short")
        self._data = reader.data
        self._at = array("Q", [reader.at])
        for _ in range(rows):
            reader.string()
            self._at.append(reader.at)

    def cut(self, low: int, high: int) -> Iterator[bytes | memoryview]:
        yield self._data[self._at[low] : self._at[high]]

    def value(self, row: int) -> Value:
        return bytes(_Reader(self._data, self._at[row]).string())


class _Dictionary(_Column):
    """LowCardinality(String). Every cut keeps the whole dictionary, of which it need not use all."""

    def __init__(self, reader: _Reader, rows: int) -> None:
        begin = reader.at
        version, flags, count = _DICTIONARY.unpack(reader.take(_DICTIONARY.size))
        if version != 1 or flags & 0xFF > 3 or count > len(reader.data) - reader.at:
            raise ValueError("a Native block has a dictionary of another kind")
        self._width = 1 << (flags & 0xFF)
        self._keys = [reader.string() for _ in range(count)]
        self._head = reader.data[begin : reader.at]
        if int.from_bytes(reader.take(8), "little") != rows:
            raise ValueError("a Native block has a column of another length")
        self._data = reader.take(self._width * rows)

    def cut(self, low: int, high: int) -> Iterator[bytes | memoryview]:
        yield self._head
        yield (high - low).to_bytes(8, "little")
        yield self._data[low * self._width : high * self._width]

    def value(self, row: int) -> Value:
        number = int.from_bytes(self._data[row * self._width : (row + 1) * self._width], "little")
        if number >= len(self._keys):
            raise ValueError("a Native block has an index beyond its dictionary")
        return bytes(self._keys[number])


def _column(type_: str, reader: _Reader, rows: int) -> _Column:
    if type_ == "String":
        return _Strings(reader, rows)
    if type_ == "LowCardinality(String)":
        return _Dictionary(reader, rows)
    if type_ in _NUMBERS:
        return _Fixed(type_, struct.calcsize(_NUMBERS[type_]), reader, rows)
    if type_ == "UUID":
        return _Fixed(type_, 16, reader, rows)
    if type_.startswith("DateTime64(3"):
        return _Fixed(type_, 8, reader, rows)
    if type_.startswith("Enum8("):
        return _Fixed(type_, 1, reader, rows)
    raise ValueError(f"a Native block has a column of type {type_}")


def _time(milliseconds: int) -> str:
    try:
        return (
            (_EPOCH + dt.timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
    except OverflowError:
        return str(milliseconds)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _string(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw)) + raw
