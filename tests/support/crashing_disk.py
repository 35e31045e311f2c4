"""A disk that stops after any system call, and keeps of a folder what a loss of power would leave.

The real calls go through. Beside them it is kept what is durable: a file's bytes at its last fsync, a folder's names at
its last fsync. One process, one folder, the calls that the spool makes.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class CrashError(BaseException):
    """The process is gone: not an error that anybody handles."""


class CrashingDisk:
    """`calls` counts the calls that change something; the one with the number `stop_at` is the last."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls = 0
        self.stop_at = -1
        self._is_down = False
        self._bytes: dict[int, bytes] = {}  # by inode
        self._names: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._path_of: dict[int, Path] = {}  # by file descriptor
        for name in ("open", "pwrite", "pwritev", "fsync", "fdatasync", "ftruncate", "rename", "unlink"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            first = arguments[0]
            is_ours = (
                first in self._path_of
                if isinstance(first, int)
                else self.folder
                in (
                    Path(first),
                    Path(first).parent,
                )
            )
            if not is_ours or (name == "open" and not arguments[1] & (os.O_CREAT | os.O_DIRECTORY)):
                found = real(*arguments, **options)
                if is_ours:
                    self._path_of[found] = Path(first)
                return found
            if self._is_down:
                raise CrashError
            found = real(*arguments, **options)
            self._note(name, arguments, found)
            self.calls += 1
            if self.calls - 1 == self.stop_at:
                self._is_down = True
                raise CrashError
            return found

        return call

    def _note(self, name: str, arguments: tuple[Any, ...], found: Any) -> None:
        if name == "open":
            self._path_of[found] = Path(arguments[0])
        elif name in ("fsync", "fdatasync"):
            path = self._path_of[arguments[0]]
            if path == self.folder:
                self._names = {entry.name: entry.stat().st_ino for entry in path.iterdir()}
            else:
                about = os.fstat(arguments[0])
                with Path(f"/proc/self/fd/{arguments[0]}").open("rb") as file:
                    self._bytes[about.st_ino] = file.read()

    def restart(self) -> None:
        """The process was killed: the kernel has all that was written."""
        self._is_down = False
        self.stop_at = -1

    def lose_power(self, chance: random.Random) -> None:
        """Leave in the folder what is durable, and of the rest what `chance` gives: whole, in part, or nothing."""
        self.restart()
        now = {entry.name: (entry.stat().st_ino, entry.read_bytes()) for entry in self.folder.iterdir()}
        contents = dict(self._bytes)
        for inode, data in now.values():
            durable = contents.get(inode, b"")
            if data != durable:
                contents[inode] = _mixed(durable, data, chance)
        names = dict(self._names)
        for name, (inode, _) in now.items():
            if names.get(name) != inode and chance.random() < 0.5:
                names = {one: number for one, number in names.items() if number != inode}
                names[name] = inode
        for entry in self.folder.iterdir():
            entry.unlink()
        self._bytes = {}
        self._names = {}
        for name, inode in names.items():
            path = self.folder / name
            path.write_bytes(contents.get(inode, b""))
            self._bytes[path.stat().st_ino] = path.read_bytes()
            self._names[name] = path.stat().st_ino


def _mixed(durable: bytes, written: bytes, chance: random.Random) -> bytes:
    """Bytes that were written and not synced reach the disk by sectors, in any order."""
    sector = 512
    size = chance.choice((len(durable), len(written), chance.randint(*sorted((len(durable), len(written))))))
    found = bytearray(durable[:size].ljust(size, b"\0"))
    for at in range(0, size, sector):
        if chance.random() < 0.5:
            piece = written[at : min(at + sector, size)]
            found[at : at + len(piece)] = piece
    return bytes(found)
