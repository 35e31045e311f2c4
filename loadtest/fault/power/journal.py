"""The journal of the preloaded library (shim.c): what processes did to a folder's files, in the order of the clock."""

import heapq
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("<IHHHHIQQQQ")
_MAGIC = 0x4C525750


class Op(IntEnum):
    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC_BEGIN = 4
    SYNC_END = 5
    RENAME = 6
    UNLINK = 7
    LINK = 8
    ALLOCATE = 9
    EXCHANGE = 10


class Record(NamedTuple):
    when_ns: int  # CLOCK_MONOTONIC, as time.monotonic_ns()
    stream: int  # which process
    op: Op
    mode: int
    inode: int
    at: int
    size: int
    path: str
    to: str
    data: bytes


def read(folder: Path) -> Iterator[Record]:
    """All records of all processes; a torn last one, of a process that was killed, is left out."""
    streams = [_read_one(path, number) for number, path in enumerate(sorted(folder.iterdir()))]
    return heapq.merge(*streams, key=lambda record: record.when_ns)


def _read_one(path: Path, stream: int) -> Iterator[Record]:
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, op, mode, path_size, to_size, data_size, when_ns, inode, at, size = _HEAD.unpack(head)
            if magic != _MAGIC:
                raise ValueError(f"{path}: no record at byte {file.tell() - _HEAD.size}")
            rest = file.read(path_size + to_size + data_size)
            if len(rest) < path_size + to_size + data_size:
                return
            name = rest[:path_size].decode(errors="surrogateescape")
            to = rest[path_size : path_size + to_size].decode(errors="surrogateescape")
            yield Record(when_ns, stream, Op(op), mode, inode, at, size, name, to, rest[path_size + to_size :])
