"""ClickHouse Native blocks, read back in plain Python: the twin of ext/clickhouse."""

import re
import struct
from typing import Any
from uuid import UUID

NUMBERS = {"UInt8": "B", "UInt16": "H", "UInt32": "I", "Float64": "d", "DateTime64(3, 'UTC')": "q"}


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        assert len(found) == size
        self.at += size
        return found

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def string(self) -> bytes:
        return self.take(self.varint())

    def numbers(self, code: str, count: int) -> list[Any]:
        return list(struct.unpack(f"<{count}{code}", self.take(struct.calcsize(f"<{count}{code}"))))

    def column(self, type_: str, rows: int) -> list[Any]:
        if type_ in NUMBERS:
            return self.numbers(NUMBERS[type_], rows)
        if type_.startswith("Enum8("):
            names = {int(number): name for name, number in re.findall(r"'([^']*)' = (-?[0-9]+)", type_)}
            return [names[number] for number in self.numbers("b", rows)]
        if type_ == "UUID":
            halves = self.numbers("Q", 2 * rows)
            return [UUID(int=halves[at] << 64 | halves[at + 1]) for at in range(0, 2 * rows, 2)]
        if type_ == "String":
            return [self.string() for _ in range(rows)]
        assert type_ == "LowCardinality(String)"
        version, flags, count = self.numbers("Q", 3)
        assert version == 1
        assert flags & ~0xFF == 1 << 9 | 1 << 10
        keys = [self.string().decode() for _ in range(count)]
        assert len(set(keys)) == count
        assert self.numbers("Q", 1) == [rows]
        return [keys[index] for index in self.numbers("BHIQ"[flags & 0xFF], rows)]


def read_blocks(data: bytes) -> list[dict[str, Any]]:
    """Rows of any number of blocks, one after the other; String as bytes, DateTime64 as its integer."""
    reader = Reader(data)
    found = []
    while reader.at < len(data):
        columns, rows = reader.varint(), reader.varint()
        block = {}
        for _ in range(columns):
            name, type_ = reader.string().decode(), reader.string().decode()
            block[name] = reader.column(type_, rows)
        found += [dict(zip(block, row, strict=True)) for row in zip(*block.values(), strict=True)]
    return found
