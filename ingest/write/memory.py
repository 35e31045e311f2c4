"""What insert bodies hold in memory: segments that were read and are not in the store yet."""

from collections.abc import Callable
from typing import Generic, TypeVar

from ingest.model import Segment

Bodies = TypeVar("Bodies")

# While a segment is read its file, its rows in order and its bodies are in memory together.
_READING = 3


class InsertMemory(Generic[Bodies]):
    """Wraps the reader of segments; `taken_bytes` says what the store has taken (or was set aside) by now."""

    def __init__(self, read: Callable[[Segment], Bodies], taken_bytes: Callable[[], int]) -> None:
        self._read = read
        self._taken_bytes = taken_bytes
        # Written by the thread that reads, one segment after the other; read by the loop.
        self._begun = 0
        self._reading = 0

    def read(self, segment: Segment) -> Bodies:
        """As the reader: raises what it raises."""
        self._reading = segment.size_bytes
        self._begun += segment.size_bytes
        try:
            return self._read(segment)
        finally:
            self._reading = 0

    @property
    def held_bytes(self) -> int:
        return max(0, self._begun - self._taken_bytes()) + (_READING - 1) * self._reading
