"""The record of a spool segment: one commit window, framed and checksummed.

    magic "CFR2" | crc32 of all that follows | per table: rows, readings, block bytes | the blocks

All numbers are unsigned 32-bit little-endian. A record is whole or it is nothing: a torn one fails its checksum.
The magic says how many tables there are: "CFR1", as written before readings_text, has the first two.
"""

import struct
import zlib
from collections.abc import Iterator

from ingest.model import TABLES, SealedBatch

MAGIC = b"CFR2"
# Every version that was ever written; the tables are the first so many of TABLES.
_TABLES_OF = {b"CFR1": 2, MAGIC: len(TABLES)}
_HEAD = struct.Struct("<4sI")
_TABLE = struct.Struct("<III")


def encode(batch: SealedBatch) -> list[bytes]:
    """The record as buffers for one gathered write."""
    tables = b"".join(
        _TABLE.pack(rows, readings, len(block))
        for rows, readings, block in zip(batch.rows, batch.readings, batch.blocks, strict=True)
    )
    crc = zlib.crc32(tables)
    for block in batch.blocks:
        crc = zlib.crc32(block, crc)
    return [_HEAD.pack(MAGIC, crc) + tables, *batch.blocks]


class Record:
    """A whole record that ends at `end`, of as many tables as there are now; `blocks` are views into the file."""

    def __init__(self, end: int, rows: tuple[int, ...], readings: tuple[int, ...], blocks: list[memoryview]) -> None:
        self.end = end
        self.rows = rows
        self.readings = readings
        self.blocks = blocks


def scan(data: memoryview) -> Iterator[Record]:
    """Yield whole records from the start of `data`; stop at the first that is torn or damaged."""
    at = 0
    while at + _HEAD.size <= len(data):
        magic, crc = _HEAD.unpack_from(data, at)
        tables = _TABLES_OF.get(magic, 0)
        first = at + _HEAD.size + _TABLE.size * tables
        if tables == 0 or first > len(data):
            return
        heads = [_TABLE.unpack_from(data, at + _HEAD.size + _TABLE.size * table) for table in range(tables)]
        heads += [(0, 0, 0)] * (len(TABLES) - tables)
        end = first + sum(size for _, _, size in heads)
        if end > len(data) or zlib.crc32(data[at + _HEAD.size : end]) != crc:
            return
        blocks = []
        for _, _, size in heads:
            blocks.append(data[first : first + size])
            first += size
        yield Record(end, tuple(head[0] for head in heads), tuple(head[1] for head in heads), blocks)
        at = end
