"""The lines of an import's file: bounded, given back when a row is broken, with their place in the file."""

import hashlib
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

MAX_LINE_BYTES = 1 << 20
# A quote that nobody closes would take the rest of the file into its row.
MAX_ROW_LINES = 50
_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"


class Position(msgspec.Struct, frozen=True):
    """Before a row: how many bytes and rows precede it; `sha256` (hex) is of those bytes."""

    offset: int = 0
    row: int = 0
    sha256: str = hashlib.sha256().hexdigest()


class LineTooLongError(Exception):
    """It is skipped when its row is settled."""


class UnclosedRowError(Exception):
    """A row of more lines than any row has."""


class Lines:
    """Lines are taken for one row; then the row is settled, as a whole or only its first line."""

    def __init__(self, file: BinaryIO) -> None:
        """Args: file: at its beginning."""
        self._file = file
        self._returned: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._settled: list[bytes] = []
        # The beginning of a line that is too long; the rest is not read yet, and may be most of the file.
        self._too_long = b""
        self._hash = hashlib.sha256()
        self._offset = 0
        # Of the row that is being taken: some line is not UTF-8.
        self.is_broken_text = False

    @property
    def taken(self) -> int:
        return len(self._taken)

    def take(self) -> str | None:
        """The next line with its end, None at the end of the file; what is no UTF-8 comes as surrogates.

        Raises: LineTooLongError, UnclosedRowError; the row can be settled after both.
        """
        if len(self._taken) == MAX_ROW_LINES:
            raise UnclosedRowError
        line = self._returned.popleft() if self._returned else self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return None
        if len(line) > MAX_LINE_BYTES:
            self._too_long = line
            raise LineTooLongError
        self._taken.append(line)
        if self._offset == 0 and len(self._taken) == 1 and not self._settled:
            line = line.removeprefix(_BOM)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.is_broken_text = True
            return line.decode("utf-8", "surrogateescape")

    def settle(self, *, only_first: bool = False) -> None:
        """The row ends here; `only_first`: after its first line, the others are given out again."""
        if self._too_long:
            self._skip(self._too_long)
            self._too_long = b""
        if only_first and len(self._taken) > 1:
            self._returned.extendleft(reversed(self._taken[1:]))
            del self._taken[1:]
        self._settled += self._taken
        self._taken.clear()
        self.is_broken_text = False

    def position(self, row: int) -> Position:
        """After the last row that was settled."""
        settled = b"".join(self._settled)
        self._settled.clear()
        self._hash.update(settled)
        self._offset += len(settled)
        return Position(self._offset, row, self._hash.hexdigest())

    def skip_to(self, position: Position) -> bool:
        """Go on where an earlier reading stopped, after the head; False if the file does not begin as it did then."""
        self.position(0)
        left = position.offset - self._offset
        if left < 0:
            return False
        while left and (block := self._file.read(min(left, _BLOCK))):
            self._hash.update(block)
            self._offset += len(block)
            left -= len(block)
        return not left and self._hash.hexdigest() == position.sha256

    def _skip(self, start: bytes) -> None:
        line = start
        while line and not line.endswith(b"\n"):
            self._past(line)
            line = self._file.readline(_BLOCK)
        self._past(line)

    def _past(self, piece: bytes) -> None:
        # Straight into the hash: the piece may be one of ten thousand of a line without an end.
        self._settled += [*self._taken, piece]
        self._taken.clear()
        self.position(0)


class RowLines(Iterator[str]):
    """The lines as csv.reader takes them: it goes on after an error, which a generator would not."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __next__(self) -> str:
        line = self._lines.take()
        if line is None:
            raise StopIteration
        return line
