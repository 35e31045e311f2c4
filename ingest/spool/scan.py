"""Finding the records of a segment, also behind damage.

A damaged body is passed by the length that its head tells. A damaged head hides the length: then the next head of this
same segment is looked for. So one flipped bit costs one record, and no more.
"""

import os
from collections.abc import Iterator
from typing import Protocol

import msgspec
from isal.isal_zlib import crc32

from ingest.spool.record import MAGIC, MAX_HEAD_BYTES, OLD_MAGICS, Buffer, Head, name_seed, read_head

_WINDOW = 1 << 20
_SECTOR = 4096
# Checksums of what only may be an old record: at most so many times the file.
_OLD_TRIES = 8


class Source(Protocol):
    """The bytes of a segment."""

    size: int

    def read(self, at: int, size: int) -> Buffer:
        """Up to `size` bytes, fewer at the end."""

    def crc32(self, at: int, size: int, seed: int) -> int: ...
    def find(self, what: bytes, at: int) -> int:
        """Where `what` is found first at or behind `at`; -1: nowhere."""


class Bytes:
    """A source that is in memory; `data` may be a view into something larger."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.size = len(data)

    def read(self, at: int, size: int) -> memoryview:
        return self._data[at : at + size]

    def crc32(self, at: int, size: int, seed: int) -> int:
        return crc32(self._data[at : at + size], seed)

    def find(self, what: bytes, at: int) -> int:
        return _find(self, what, at)


class OpenFile:
    """A source that is read piece by piece, whatever its size. What the disk cannot read counts as zeros."""

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self.size = size
        self.unreadable_bytes = 0

    def read(self, at: int, size: int) -> bytes:
        size = min(size, self.size - at)
        try:
            return os.pread(self._file, size, at)
        except OSError:
            if size > _SECTOR:
                return b"".join(self.read(one, min(_SECTOR, at + size - one)) for one in range(at, at + size, _SECTOR))
            self.unreadable_bytes += size
            return bytes(size)

    def crc32(self, at: int, size: int, seed: int) -> int:
        for one in range(at, at + size, _WINDOW):
            seed = crc32(self.read(one, min(_WINDOW, at + size - one)), seed)
        return seed

    def find(self, what: bytes, at: int) -> int:
        return _find(self, what, at)


def _find(source: Source, what: bytes, at: int) -> int:
    while at + len(what) <= source.size:
        window = bytes(source.read(at, _WINDOW))
        found = window.find(what)
        if found >= 0:
            return at + found
        if len(window) < _WINDOW:
            break
        at += _WINDOW - len(what) + 1
    return -1


class Record(msgspec.Struct, frozen=True):
    """A whole record: its blocks begin behind its head, and it ends at `end`."""

    at: int
    end: int
    head: Head


class Gap(msgspec.Struct, frozen=True):
    """Bytes that are no whole record. With a head it is known what was there."""

    at: int
    end: int
    head: Head | None


def scan(source: Source, name: str) -> Iterator[Record | Gap]:
    """Every byte of the segment `name` in turn, as records and gaps; no two gaps without a head touch each other."""
    return _Scan(source, name).run()


class _Scan:
    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._seed = name_seed(name)
        self._tries_bytes = source.size * _OLD_TRIES
        # A file is of one kind. A new one is not searched for old records: these carry no name, so that what is left of
        # the segment before would count, or a payload that somebody sent.
        self._is_old = bytes(source.read(0, len(MAGIC))) != MAGIC and self._next_new(0) < 0

    def run(self) -> Iterator[Record | Gap]:
        at, size = 0, self._source.size
        while at < size:
            head = self._head(at)
            end = at + head.size_bytes + head.body_bytes if head is not None else 0
            if head is not None and end <= size and self._is_whole(at, head):
                yield Record(at, end, head)
            elif head is not None and self._is_trusted(head, end):
                end = min(end, size)
                yield Gap(at, end, head)
            else:
                end = self._next(at + 1)
                yield Gap(at, end, None)
            at = end

    def _head(self, at: int) -> Head | None:
        head = read_head(self._source.read(at, MAX_HEAD_BYTES), self._seed)
        return head if head is not None and head.is_old == self._is_old else None

    def _is_whole(self, at: int, head: Head) -> bool:
        return self._source.crc32(at + head.size_bytes, head.body_bytes, head.crc_seed) == head.body_crc

    def _is_trusted(self, head: Head, end: int) -> bool:
        """Whether the length is right, though the body is not: an old head has no checksum, but it may fit."""
        size = self._source.size
        return not head.is_old or end == size or (end < size and bytes(self._source.read(end, 4)) in OLD_MAGICS)

    def _next(self, at: int) -> int:
        """Where the next record begins; the end of the file if there is none."""
        found = self._next_old(at) if self._is_old else self._next_new(at)
        return found if found >= 0 else self._source.size

    def _next_new(self, at: int) -> int:
        while (at := self._source.find(MAGIC, at)) >= 0:
            if read_head(self._source.read(at, MAX_HEAD_BYTES), self._seed) is not None:
                break
            at += 1
        return at

    def _next_old(self, at: int) -> int:
        while (at := self._source.find(MAGIC[:3], at)) >= 0:
            head = self._head(at)
            if head is not None and at + head.size_bytes + head.body_bytes <= self._source.size:
                # Whoever sent a payload full of heads must not keep us busy for hours.
                self._tries_bytes -= head.body_bytes
                if self._tries_bytes < 0:
                    return -1
                if self._is_whole(at, head):
                    return at
            at += 1
        return -1
