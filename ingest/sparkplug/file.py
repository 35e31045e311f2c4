"""The file of births: records are appended as they come; now and then it is written anew, whole."""

import os
from pathlib import Path

_NAME = "births"
# Below this a file is not worth rewriting.
_SMALL_BYTES = 1_000_000


class BirthFile:
    """One process writes it, from one thread at a time. What a record is, `ext.telemetry.sparkplug_births` says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self.size_bytes = 0
        self._whole_bytes = 0

    @property
    def is_grown(self) -> bool:
        """Whether it says most things more than once: then it should be replaced."""
        return self.size_bytes > max(_SMALL_BYTES, 2 * self._whole_bytes)

    def read(self) -> bytes:
        """All records; nothing if there is no file yet. Raises: OSError."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return b""
        self.size_bytes = len(data)
        return data

    def append(self, records: bytes) -> None:
        """Raises: OSError; what the file then ends with may be cut off, which readers pass over."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(records)
            file.flush()
            os.fsync(file.fileno())
        self.size_bytes += len(records)

    def replace(self, records: bytes) -> None:
        """Write it anew: either all of this is there afterwards, or what was there before. Raises: OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(records)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.size_bytes = self._whole_bytes = len(records)
