"""State documents that were taken and that the registry does not have yet, on disk: acknowledged is not lost.

A file to which they are appended as they come, and which is now and then written anew with those that still wait.
"""

import asyncio
import contextlib
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import structlog

from ext.telemetry.device_states import DeviceStates
from ingest.disk import move_aside, sync_folder, write_all, write_file

log = structlog.get_logger()

# Device number, what was published, when it came (UTC milliseconds).
Document = tuple[int, bytes, int]

# Not UTF-8, and so in no document.
_MARK = b"\xf5CF\xff"
# Behind the mark: CRC-32 of what follows it, size of the document, device number, time.
_HEAD = struct.Struct("<IIIq")
_CRC = struct.Struct("<I")
_MAX_DOCUMENT_BYTES = 16_384
# A file below this much is not worth writing anew.
_SMALL_BYTES = 1_000_000


def encode(documents: Sequence[Document]) -> bytes:
    parts: list[bytes] = []
    for device_num, document, at_ms in documents:
        head = _HEAD.pack(0, len(document), device_num, at_ms)[_CRC.size :]
        parts += (_MARK, _CRC.pack(zlib.crc32(document, zlib.crc32(head))), head, document)
    return b"".join(parts)


def decode(data: bytes) -> tuple[list[Document], int]:
    """The documents that are whole, in their order, and how many bytes are not of them."""
    found, whole, at = [], 0, data.find(_MARK)
    while at >= 0:
        begin = at + len(_MARK) + _HEAD.size
        next_at = at + 1
        if begin <= len(data):
            crc, size, device_num, at_ms = _HEAD.unpack_from(data, at + len(_MARK))
            end = begin + size
            if size <= _MAX_DOCUMENT_BYTES and end <= len(data):
                summed = memoryview(data)[at + len(_MARK) + _CRC.size : end]
                if zlib.crc32(summed) == crc:
                    found.append((device_num, data[begin:end], at_ms))
                    whole, next_at = whole + end - at, end
        at = data.find(_MARK, next_at)
    return found, len(data) - whole


class DocumentFile:
    """One caller at a time; everything here blocks on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size_bytes = 0

    def read(self) -> list[Document]:
        """What is whole; nothing if there is no file. Raises: OSError."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        self.size_bytes = len(data)
        found, strange = decode(data)
        if strange:
            # A record that was being written when the process ended was not acknowledged; anything else is damage.
            log.warning("state_documents_not_whole", file=self._path.name, bytes=strange)
        return found

    def append(self, documents: Sequence[Document]) -> None:
        """Durable on return. Raises: OSError; then only replace() makes the file good."""
        records = encode(documents)
        is_new = self.size_bytes == 0
        if is_new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            write_all(file, [records], self.size_bytes)
            os.fdatasync(file)
        finally:
            os.close(file)
        if is_new:
            sync_folder(self._path.parent)
        self.size_bytes += len(records)

    def replace(self, documents: Sequence[Document]) -> None:
        """All of this and nothing else, durable on return; no file for none. Raises: OSError; then what was, is."""
        records = encode(documents)
        if records:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._path, records)
        else:
            self._path.unlink(missing_ok=True)
        self.size_bytes = len(records)

    def remove(self) -> None:
        """If it cannot be removed it will be read once more, which changes nothing."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def move_aside(self) -> None:
        with contextlib.suppress(OSError):
            move_aside(self._path, ".unread")


class DocumentKeeper:
    """Keeps the file true to what `states` has not told."""

    def __init__(self, states: DeviceStates, path: Path, left_over: Sequence[Path] = ()) -> None:
        """Args: left_over: files of workers that are no more; they become part of this one's."""
        self._states = states
        self._file = DocumentFile(path)
        self._left_over = left_over
        # The last write failed: the file is to be written anew, whether or not there is something new.
        self._is_owing = False

    def load(self) -> None:
        """What an earlier run left is told first. Blocks. A file that cannot be read is left for a person."""
        files = [self._file, *map(DocumentFile, self._left_over)]
        read = [file for file in files if self._read(file)]
        if not any(file.size_bytes for file in read):
            return
        documents = self._states.untold()
        log.info("state_documents_recovered", documents=len(documents))
        if self._replace(documents):
            for file in read[1:] if read[0] is self._file else read:
                file.remove()

    def _read(self, file: DocumentFile) -> bool:
        try:
            for document in file.read():
                self._states.recover(*document)
        except OSError as exc:
            log.error("state_documents_not_read", reason=str(exc))
            if file is self._file:
                file.move_aside()
            return False
        return True

    def _replace(self, documents: Sequence[Document]) -> bool:
        try:
            self._file.replace(documents)
        except OSError as exc:
            log.error("state_documents_not_written", reason=str(exc))
            return False
        return True

    async def keep(self, disk: Executor) -> None:
        """What came until now is on disk on return. Raises: OSError; it may be called again."""
        fresh = self._states.take_fresh()
        if not fresh and not self._is_owing:
            return
        loop = asyncio.get_running_loop()
        is_grown = self._file.size_bytes > 2 * self._states.counters()["document_bytes"] + _SMALL_BYTES
        is_whole, self._is_owing = self._is_owing or is_grown, True
        if is_whole:
            await loop.run_in_executor(disk, self._file.replace, self._states.untold())
        else:
            await loop.run_in_executor(disk, self._file.append, fresh)
        self._is_owing = False

    def close(self) -> None:
        """What is not told by now waits for the next start. Blocks."""
        self._replace(self._states.untold())
