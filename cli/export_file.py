"""The file of an export: written beside its place, put there when it is whole; an interrupted one is gone on with."""

import os
import sys
from pathlib import Path
from typing import IO

import msgspec

from cli.errors import CommandError, ExitCode


class Request(msgspec.Struct, frozen=True):
    """What a file is an export of."""

    registry: str
    kind: str
    filter_text: str
    with_documents: bool
    show_deleted: bool


class State(msgspec.Struct, frozen=True):
    """How far the unfinished file is: its first `offset` bytes are whole and end with the device `after`."""

    request: Request
    offset: int
    after: str
    devices: int


class ExportFile:
    """FILE.export-part and FILE.export-state until it is whole. Close it in any case."""

    def __init__(self, path: Path, request: Request, head: bytes, *, restart: bool) -> None:
        """Raises: CommandError if it cannot be written, or the unfinished one is another export."""
        self._path = path
        self._part = path.with_name(path.name + ".export-part")
        self._state_path = path.with_name(path.name + ".export-state")
        self.state = self._begun(request, restart=restart)
        try:
            descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise CommandError(f"cannot write {self._part}: {exc.strerror}") from exc
        self._file: IO[bytes] = os.fdopen(descriptor, "r+b")
        if os.fstat(self._file.fileno()).st_size < self.state.offset:
            self.state = State(request, 0, "", 0)
        self._file.truncate(self.state.offset)
        self._file.seek(self.state.offset)
        if not self.state.offset:
            self.write(head, "", 0)

    def write(self, part: bytes, after: str, devices: int) -> None:
        """Args: after: the id of the last device in `part`, which has so many."""
        self._file.write(part)
        before = self.state
        self.state = State(before.request, before.offset + len(part), after or before.after, before.devices + devices)

    def save(self) -> None:
        """What was written so far stays, whatever happens."""
        self._file.flush()
        os.fsync(self._file.fileno())
        beside = self._state_path.with_name(self._state_path.name + ".new")
        beside.write_bytes(msgspec.json.encode(self.state))
        beside.replace(self._state_path)

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._part.replace(self._path)
        self._state_path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()

    def _begun(self, request: Request, *, restart: bool) -> State:
        new = State(request, 0, "", 0)
        if restart or not (self._state_path.exists() and self._part.exists()):
            return new
        try:
            found = msgspec.json.decode(self._state_path.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError):
            return new
        if found.request != request:
            raise CommandError(
                f"{self._part} is of another export that was interrupted",
                ExitCode.USAGE,
                "repeat that one's command to go on with it, or give --restart to begin this one",
            )
        print(f"going on behind {found.after}: {found.devices:,} devices are there", file=sys.stderr)
        return found


class Stream:
    """Standard output: as ExportFile, but what is written is gone."""

    def __init__(self, request: Request, head: bytes) -> None:
        self.state = State(request, 0, "", 0)
        sys.stdout.buffer.write(head)

    def write(self, part: bytes, after: str, devices: int) -> None:
        sys.stdout.buffer.write(part)
        self.state = State(self.state.request, 0, after, self.state.devices + devices)

    def save(self) -> None:
        pass

    def finish(self) -> None:
        sys.stdout.buffer.flush()

    def close(self) -> None:
        pass
