"""The device index on disk, so that ingest can start while the registry is away.

A file of head, parts and checksum, replaced as a whole. It holds hashes of tokens, so only its owner may read it.
"""

import contextlib
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index_image import LAYOUT

_MAGIC = b"cityfleet device index\n"
_HEAD = struct.Struct("<I")
_CRC = struct.Struct("<I")
_STEP = 4 << 20
# No write takes this long: a draft that is older has been left behind.
_DRAFT_S = 600.0


class IndexFileError(Exception):
    """The file cannot be used; its text says why. Go on without it."""


class Head(msgspec.Struct, frozen=True):
    """What the parts are. `catalogue` is the size of a WatchDeviceIndexResponse of metrics, types and operators."""

    layout: str
    resume_token: str
    saved_ms: int
    catalogue: int
    parts: tuple[int, ...]


class Loaded(msgspec.Struct, frozen=True):
    """`saved_ms`: UTC milliseconds since the epoch; `parts` for ext.telemetry.index_image.restore."""

    resume_token: str
    saved_ms: int
    catalogue: pb.WatchDeviceIndexResponse
    parts: list[memoryview]


class IndexFile:
    """One file. Its calls may block on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, resume_token: str, catalogue: bytes, parts: Iterable[memoryview | bytes]) -> int:
        """Replace the file; durable when it returns. Returns its size. Raises: OSError."""
        parts = list(parts)
        sizes = tuple(len(part) for part in parts)
        head = msgspec.json.encode(Head(LAYOUT, resume_token, time.time_ns() // 1_000_000, len(catalogue), sizes))
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as file:
                crc = size = 0
                for part in (_MAGIC, _HEAD.pack(len(head)), head, catalogue, *parts):
                    view = memoryview(part).cast("B")
                    for at in range(0, len(view), _STEP):
                        piece = view[at : at + _STEP]
                        crc = zlib.crc32(piece, crc)
                        _write_all(file.fileno(), piece)
                    size += len(view)
                _write_all(file.fileno(), memoryview(_CRC.pack(crc)))
                os.fsync(file.fileno())
            draft.replace(self._path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size + _CRC.size

    def _sweep(self) -> None:
        """Take away what a process that was killed while it wrote has left."""
        for draft in self._path.parent.glob(f".{self._path.name}.*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > _DRAFT_S:
                    draft.unlink()

    def read(self) -> Loaded | None:
        """What was written last; None if there is no file. Raises: IndexFileError."""
        try:
            data = memoryview(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise IndexFileError(f"cannot be read: {exc.strerror}") from exc
        if bytes(data[: len(_MAGIC)]) != _MAGIC or len(data) < len(_MAGIC) + _HEAD.size + _CRC.size:
            raise IndexFileError("not a device index")
        content = data[: -_CRC.size]
        if zlib.crc32(content) != _CRC.unpack(data[-_CRC.size :])[0]:
            raise IndexFileError("damaged: its checksum differs")
        at = len(_MAGIC) + _HEAD.size
        (size,) = _HEAD.unpack(content[len(_MAGIC) : at])
        try:
            head = msgspec.json.decode(content[at : at + size], type=Head)
        except msgspec.DecodeError as exc:
            raise IndexFileError("of another version") from exc
        if head.layout != LAYOUT:
            raise IndexFileError(f"of another version: layout {head.layout}, not {LAYOUT}")
        at += size
        if at + head.catalogue + sum(head.parts) != len(content) or min(head.parts, default=0) < 0:
            raise IndexFileError("its parts have other sizes than its head says")
        catalogue = pb.WatchDeviceIndexResponse.FromString(bytes(content[at : at + head.catalogue]))
        at += head.catalogue
        parts = []
        for part in head.parts:
            parts.append(content[at : at + part])
            at += part
        return Loaded(head.resume_token, head.saved_ms, catalogue, parts)


def _write_all(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data) :]
