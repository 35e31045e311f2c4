"""What an interrupted import leaves beside its file, so that the same command goes on where it stopped.

The tokens of an import come from one secret of its own, HMAC-SHA256(secret, device id): a row that is sent again after
a kill carries the token that it carried before, so none is lost, and none has to be written before it is sent.
"""

import base64
import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.import_lines import Position

_LENGTH_BYTES = 4


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`token_secret` is base64; `late_*` are bytes of the file of rows that wait for their gateways."""

    registry: str
    token_secret: str
    position: Position = Position()
    is_file_done: bool = False
    late_bytes: int = 0
    late_done: int = 0
    counts: dict[str, int] = {}
    errors_bytes: int = 0

    def token(self, device_id: str) -> str:
        """256 bits that nobody can guess without the secret (43 characters)."""
        digest = hmac.digest(base64.b64decode(self.token_secret), device_id.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def new_state(registry: str) -> State:
    return State(registry, base64.b64encode(secrets.token_bytes(32)).decode())


class StateFile:
    """FILE.import-state (mode 0600), replaced as a whole; gone when the import is through."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> State | None:
        """Raises: CommandError if there is one that cannot be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as exc:
            remedy = "--restart begins anew: rows that are there already count as unchanged"
            raise CommandError(f"cannot read {self._path}: {exc}", ExitCode.USAGE, remedy) from exc

    def save(self, state: State) -> None:
        """Durable when it returns. Raises: OSError."""
        draft = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class LateRows:
    """Rows whose gateway was not there yet, on disk: a file may name all devices before their gateways."""

    def __init__(self, file: IO[bytes], size_bytes: int) -> None:
        """Args: size_bytes: what of the file counts; the rest was written after the last checkpoint."""
        self._file = file
        file.truncate(size_bytes)
        self._size = size_bytes

    def add(self, row: pb.ImportDevicesRequest) -> None:
        """Args: row: one, with its field mask."""
        raw = row.SerializeToString()
        self._file.seek(self._size)
        self._size += self._file.write(len(raw).to_bytes(_LENGTH_BYTES, "little") + raw)

    def flush(self) -> int:
        """Returns the size in bytes."""
        self._file.flush()
        return self._size

    def read(self, start: int) -> Iterator[tuple[pb.ImportDevicesRequest, int]]:
        """Rows from byte `start`, each with the place behind it."""
        at = start
        while at < self._size:
            self._file.seek(at)
            length = int.from_bytes(self._file.read(_LENGTH_BYTES), "little")
            at += _LENGTH_BYTES + length
            yield pb.ImportDevicesRequest.FromString(self._file.read(length)), at


@contextmanager
def claimed(file: BinaryIO, source: str) -> Iterator[None]:
    """Raises: CommandError if another import of the same file is running."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise CommandError(f"another import of {source} is running", ExitCode.ERROR, "wait for it, or end it") from exc
    yield
