"""Run files: where a role of this data folder listens, and the lock that keeps a second one out."""

import fcntl
import os
from pathlib import Path

import msgspec


class AlreadyRunningError(Exception):
    """Another process has this lock; `pid` is what it wrote, 0 if unknown."""

    def __init__(self, name: str, data_dir: Path, pid: int) -> None:
        super().__init__(f"cityfleet {name} is already running on {data_dir}" + (f" (process {pid})" if pid else ""))
        self.pid = pid


class RunFile(msgspec.Struct, frozen=True):
    """`<data>/run/<role>.json`: the process and its addresses by kind (`mqtt`, `grpc`, `http`, `metrics`)."""

    role: str
    pid: int
    addresses: dict[str, str]


def _folder(data_dir: Path) -> Path:
    folder = data_dir / "run"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def announce(data_dir: Path, role: str, addresses: dict[str, str]) -> None:
    """Say where this process listens."""
    path = _folder(data_dir) / f"{role}.json"
    draft = path.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(RunFile(role, os.getpid(), addresses)))
    draft.replace(path)


def read(data_dir: Path, role: str) -> RunFile | None:
    """What the role said last, if it still runs."""
    try:
        found = msgspec.json.decode((data_dir / "run" / f"{role}.json").read_bytes(), type=RunFile)
        os.kill(found.pid, 0)
    except (FileNotFoundError, ProcessLookupError, msgspec.DecodeError):
        return None
    except PermissionError:
        pass  # alive, and somebody else's
    return found


def withdraw(data_dir: Path, role: str) -> None:
    """Forget where the role listened."""
    (data_dir / "run" / f"{role}.json").unlink(missing_ok=True)


class Lock:
    """`with Lock(data_dir, "up"):` holds `<data>/run/<name>.lock` for the life of the process, also past kill -9."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self._data_dir = data_dir
        self._name = name
        self._file = -1

    def __enter__(self) -> "Lock":
        path = _folder(self._data_dir) / f"{self._name}.lock"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(self._file, 20).strip()
            os.close(self._file)
            raise AlreadyRunningError(self._name, self._data_dir, int(text) if text.isdigit() else 0) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
