"""A closed segment as insert bodies: readings in the table's order, and the newest of each series beside them."""

import os
from contextlib import suppress

import msgspec

from ext.clickhouse.quarantine_ids import with_ids
from ext.clickhouse.series_order import SeriesOrder
from ingest.errors import DamagedSegmentError
from ingest.model import TABLES, Segment
from ingest.spool.backlog import Backlog
from ingest.spool.metrics import LOST_READINGS
from ingest.spool.record import Head
from ingest.spool.scan import Bytes, OpenFile, Record, scan


class SegmentReader:
    """Reads segments one after the other, with working memory that it keeps. Not for two threads at once."""

    def __init__(self) -> None:
        self._order = SeriesOrder()

    def windows(self, segment: Segment) -> list[tuple[bytes | memoryview, ...]]:
        """The blocks of each whole record, one for each of TABLES; empty where it has no rows. Raises: OSError."""
        if segment.windows is not None:
            return [window.blocks for window in segment.windows]
        return [blocks for blocks, _ in _records(segment)]

    def read(self, segment: Segment) -> list[tuple[str, bytes]]:
        """Tables with their Native blocks, in the order in which they are to be inserted.

        The same segment gives the same bytes, so that a retry is the same insert; quarantine rows get their ids here,
        from the segment's name and their place. `latest` follows from the readings; readings of an older version,
        whose columns are others, are taken as they are and leave it alone.
        Raises: OSError; DamagedSegmentError with what is whole, if the file is not the segment it was when it was
            closed; ValueError if nothing of it is whole.
        """
        if segment.windows is not None:
            return self._bodies(segment, self.windows(segment))
        records = _records(segment)
        bodies = self._bodies(segment, [blocks for blocks, _ in records])
        readings = [sum(one) for one in zip(*[head.readings[: len(TABLES)] for _, head in records], strict=True)]
        lost = sum(segment.readings) - sum(readings)
        if not lost:
            return bodies
        message = f"spool segment {segment.name} is damaged: {lost} of {sum(segment.readings)} readings are gone"
        if not bodies:
            raise ValueError(message)
        rows = [sum(one) for one in zip(*[head.rows[: len(TABLES)] for _, head in records], strict=True)]
        remaining = msgspec.structs.replace(segment, rows=tuple(rows), readings=tuple(readings))
        LOST_READINGS.labels("damaged").inc(lost)
        if isinstance(segment.keeper, Backlog):
            segment.keeper.damaged(segment)
        raise DamagedSegmentError(message, remaining, bodies)

    def _bodies(self, segment: Segment, windows: list[tuple[bytes | memoryview, ...]]) -> list[tuple[str, bytes]]:
        bodies = []
        for table, name in enumerate(TABLES):
            blocks = [window[table] for window in windows if len(window[table])]
            if not blocks:
                continue
            if name == "readings":
                try:
                    body, latest = self._order.sort(blocks)
                except ValueError:
                    pass
                else:
                    bodies += [(name, body), ("latest", latest)]
                    continue
            if name == "quarantine":
                with suppress(ValueError):
                    bodies.append((name, with_ids(blocks, segment.name)))
                    continue
            bodies.append((name, b"".join(blocks)))
        return bodies


def _read(segment: Segment) -> bytes:
    file = os.open(segment.path, os.O_RDONLY)
    try:
        return OpenFile(file, segment.size_bytes).read(0, segment.size_bytes)
    finally:
        os.close(file)


def _records(segment: Segment) -> list[tuple[tuple[memoryview, ...], Head]]:
    data = memoryview(_read(segment))
    items = scan(Bytes(data), segment.name)
    return [(_blocks(data, item), item.head) for item in items if isinstance(item, Record)]


def _blocks(data: memoryview, record: Record) -> tuple[memoryview, ...]:
    at = record.at + record.head.size_bytes
    blocks = []
    for size in record.head.block_bytes[: len(TABLES)]:
        blocks.append(data[at : at + size])
        at += size
    return tuple(blocks)
