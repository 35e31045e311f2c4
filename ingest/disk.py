"""File operations that a loss of power cannot tear: what is whole or not there, and names that are durable."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make names in the folder durable: files created, renamed and removed. Raises: OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_all(file: int, buffers: list[bytes], at: int) -> None:
    """All of it, from offset `at` on. Raises: OSError; then any part of it may have been written."""
    written = os.pwritev(file, buffers, at)
    if written < sum(map(len, buffers)):
        rest = memoryview(b"".join(buffers))[written:]
        while rest:
            at += written
            written = os.pwrite(file, rest, at)
            rest = rest[written:]


def write_file(path: Path, data: bytes) -> None:
    """The file as a whole in place of what was there, durably. Raises: OSError; then what was there still is."""
    draft = path.with_name(path.name + ".draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        write_all(file, [data], 0)
        os.fsync(file)
    finally:
        os.close(file)
    draft.rename(path)
    sync_folder(path.parent)


def move_aside(path: Path, suffix: str) -> Path:
    """Give the file, or whatever it is, a name that nobody uses. Raises: OSError."""
    number = 0
    while True:
        aside = path.with_name(f"{path.name}{f'-{number}' if number else ''}{suffix}")
        if not os.path.lexists(aside):
            return path.rename(aside)
        number += 1
