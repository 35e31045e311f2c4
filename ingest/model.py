"""What the stages hand to each other, beside the chunks and batches of `ext.telemetry`."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

# The order is the tag in a spool record: never reorder, only append.
TABLES = ("readings", "quarantine", "readings_text")
# The order in which a spool record counts frames; what none of them brought is counted as the last.
TRANSPORTS = ("mqtt", "grpc", "broker", "other")


class SealedBatch(msgspec.Struct, frozen=True):
    """One commit window: what becomes one record of the spool, and the acknowledgements that wait for it.

    A block is ClickHouse Native, empty if the window has no rows for that table. `readings` is what the rows stand for
    in the ledger, per table. `frames` is how many of each of TRANSPORTS are in the window; `received_ms` are the
    earliest and the latest time at which one was received, (0, 0) if nobody has looked.
    """

    blocks: tuple[bytes, ...]
    rows: tuple[int, ...]
    readings: tuple[int, ...]
    on_durable: Callable[[], None]
    frames: tuple[int, ...] = (0,) * len(TRANSPORTS)
    received_ms: tuple[int, int] = (0, 0)

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.blocks))


class Keeper(Protocol):
    """Who keeps closed segments until the store has them. Its methods may block on the disk: call them off the loop."""

    def remove(self, segment: "Segment") -> None:
        """The store has it all. Raises: OSError; it may be called again then."""

    def set_aside(self, segment: "Segment") -> Path:
        """Nobody is to read it any more but a person. Returns where it is kept. Raises: OSError."""


class Segment(msgspec.Struct, frozen=True):
    """A closed segment of the spool: one insert per table that has rows. `name` is its insert token.

    Bytes, rows and readings are of its whole records: what was damaged does not count. `received_ms` are the earliest
    and the latest time at which one of its frames was received, (0, 0) if it was written by a version that did not say.
    `windows` are its records where the segment is in memory and not in the file `path`.
    """

    name: str
    path: Path
    size_bytes: int
    rows: tuple[int, ...]
    readings: tuple[int, ...]
    received_ms: tuple[int, int] = (0, 0)
    windows: tuple[SealedBatch, ...] | None = None
    keeper: Keeper | None = None

    def remove(self) -> None:
        """Call when the store has it. May block. Raises: OSError."""
        if self.keeper is not None:
            self.keeper.remove(self)
        else:
            self.path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Keep it for a person, out of the way of what comes behind it. May block. Raises: OSError."""
        if self.keeper is not None:
            return self.keeper.set_aside(self)
        return self.path.rename(self.path.with_suffix(".poison"))
