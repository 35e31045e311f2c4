"""What the stages hand to each other, beside the chunks and batches of `ext.telemetry`."""

from collections.abc import Callable
from pathlib import Path

import msgspec

# The order is the tag in a spool record: never reorder, only append.
TABLES = ("readings", "quarantine", "readings_text")


class SealedBatch(msgspec.Struct, frozen=True):
    """One commit window: what becomes one record of the spool, and the acknowledgements that wait for it.

    A block is ClickHouse Native, empty if the window has no rows for that table. `readings` is what the rows stand for
    in the ledger, per table.
    """

    blocks: tuple[bytes, ...]
    rows: tuple[int, ...]
    readings: tuple[int, ...]
    on_durable: Callable[[], None]

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.blocks))


class Segment(msgspec.Struct, frozen=True):
    """A closed spool file: one insert per table that has rows. `name` is its insert token."""

    name: str
    path: Path
    size_bytes: int
    rows: tuple[int, ...]
    readings: tuple[int, ...]
