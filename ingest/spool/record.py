"""The record of a spool segment: one commit window behind a head that says what it is, each with a checksum of its own.

    magic "CFR3" | crc32 of the rest of the head | crc32 of the blocks | bytes of the head | tables | transports
    | number of the segment, of the record in it | earliest and latest receipt (ms)
    | readings of the segment before this record | number and readings of the segment before, 0 if unknown
    | per table: rows, readings, bytes of its block | per transport: frames | the blocks

Little-endian. The head's checksum begins with that of the segment's name: of a file that is used again, what is left of
the segment before counts as nothing, and nobody who does not know the name can send a payload that passes for a record.
What a head tells of the readings before it says how many were in what can no longer be read.

"CFR1" and "CFR2" were written by earlier versions: one checksum of all that follows it, per table rows, readings and
bytes, the blocks. The magic says how many tables there are.
"""

import struct

import msgspec
from isal.isal_zlib import crc32

from ingest.model import TABLES, TRANSPORTS, SealedBatch

MAGIC = b"CFR3"
# What earlier versions wrote; the tables are the first so many of TABLES.
_TABLES_OF = {b"CFR1": 2, b"CFR2": 3}
_END = b"CFRE"
OLD_MAGICS = tuple(_TABLES_OF)
_OLD = struct.Struct("<4sI")
_FIXED = struct.Struct("<4sIIHBBQIqqQQQ")
_TABLE = struct.Struct("<III")
_TABLE_ROOM = 255
# No head is larger, so that many bytes are enough to read one.
MAX_HEAD_BYTES = _FIXED.size + _TABLE_ROOM * _TABLE.size + 255 * 4
# The head's own checksum covers what comes after it.
_COVERED_FROM = 8

Buffer = bytes | bytearray | memoryview


class RecordPlace(msgspec.Struct):
    """Where the next record goes: what its head says beside what is in it."""

    # crc32 of the segment's name, for the head's checksum to begin with.
    seed: int
    segment: int
    number: int = 0
    readings_before: int = 0
    previous: int = 0
    previous_readings: int = 0


class Head(msgspec.Struct, frozen=True):
    """What a head says. Of an old version the numbers are 0 that it does not know."""

    is_old: bool
    size_bytes: int
    body_crc: int
    # The checksum of the blocks begins with this.
    crc_seed: int
    rows: tuple[int, ...]
    readings: tuple[int, ...]
    block_bytes: tuple[int, ...]
    received_ms: tuple[int, int] = (0, 0)
    frames: tuple[int, ...] = (0,) * len(TRANSPORTS)
    segment: int = 0
    number: int = 0
    readings_before: int = 0
    previous: int = 0
    previous_readings: int = 0
    # Tables that this version does not know have rows: written by a newer one.
    is_newer: bool = False

    @property
    def body_bytes(self) -> int:
        return sum(self.block_bytes)


def name_seed(name: str) -> int:
    return crc32(name.encode())


def encode(batch: SealedBatch, place: RecordPlace) -> list[bytes]:
    """The record as buffers for one gathered write."""
    crc = 0
    for block in batch.blocks:
        crc = crc32(block, crc)
    tables = b"".join(
        _TABLE.pack(rows, readings, len(block))
        for rows, readings, block in zip(batch.rows, batch.readings, batch.blocks, strict=True)
    )
    tail = tables + struct.pack(f"<{len(batch.frames)}I", *batch.frames)
    fixed = _FIXED.pack(
        MAGIC,
        0,
        crc,
        _FIXED.size + len(tail),
        len(batch.blocks),
        len(batch.frames),
        place.segment,
        place.number,
        *batch.received_ms,
        place.readings_before,
        place.previous,
        place.previous_readings,
    )
    covered = fixed[_COVERED_FROM:] + tail
    return [MAGIC, crc32(covered, place.seed).to_bytes(4, "little") + covered, *batch.blocks]


def end_mark(seed: int, at: int) -> bytes:
    """What is behind the last record of an open segment, at offset `at`; the next record is written over it. Without
    it, what a file held before could not be told from a record whose head is damaged.
    """
    return _END + crc32(at.to_bytes(8, "little"), seed).to_bytes(4, "little")


def read_head(data: Buffer, seed: int) -> Head | None:
    """The head at the start of `data`, which holds MAX_HEAD_BYTES or all that there is; None if there is none.

    Args:
        seed: `name_seed` of the segment.
    """
    if data[:4] == MAGIC:
        return _read_new(data, seed)
    tables = _TABLES_OF.get(bytes(data[:4]), 0)
    size = _OLD.size + _TABLE.size * tables
    if tables == 0 or len(data) < size:
        return None
    _, crc = _OLD.unpack_from(data)
    rows, readings, blocks = _read_tables(data, _OLD.size, tables)
    return Head(True, size, crc, crc32(data[_OLD.size : size]), rows, readings, blocks)


def stated_segment(data: Buffer) -> int:
    """The number of the segment that the head at the start of `data` says it is of, true or not; 0 if there is none."""
    return _FIXED.unpack_from(data)[6] if data[:4] == MAGIC and len(data) >= _FIXED.size else 0


def _read_new(data: Buffer, seed: int) -> Head | None:
    if len(data) < _FIXED.size:
        return None
    (
        _,
        head_crc,
        crc,
        size,
        tables,
        transports,
        segment,
        number,
        first_ms,
        last_ms,
        before,
        previous,
        previous_readings,
    ) = _FIXED.unpack_from(data)
    known = _FIXED.size + tables * _TABLE.size + transports * 4
    # A newer version may say more behind what this one knows.
    if not known <= size <= min(len(data), MAX_HEAD_BYTES) or crc32(data[_COVERED_FROM:size], seed) != head_crc:
        return None
    rows, readings, blocks = _read_tables(data, _FIXED.size, tables)
    frames = struct.unpack_from(f"<{transports}I", data, _FIXED.size + tables * _TABLE.size)
    return Head(
        False,
        size,
        crc,
        0,
        rows,
        readings,
        blocks,
        (first_ms, last_ms),
        frames,
        segment,
        number,
        before,
        previous,
        previous_readings,
        any(blocks[len(TABLES) :]),
    )


def _read_tables(data: Buffer, at: int, tables: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Rows, readings and bytes, of as many tables as there are now or more."""
    found = struct.unpack_from(f"<{3 * tables}I", data, at) + (0,) * (3 * (len(TABLES) - tables))
    return found[0::3], found[1::3], found[2::3]
