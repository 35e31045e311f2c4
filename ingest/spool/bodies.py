"""A closed segment as insert bodies: readings in the table's order, and the newest of each series beside them."""

import os
from contextlib import suppress

from ext.clickhouse.quarantine_ids import with_ids
from ext.clickhouse.series_order import SeriesOrder
from ingest.model import TABLES, Segment
from ingest.spool.scan import Bytes, OpenFile, Record, scan


class SegmentReader:
    """Reads segments one after the other, with working memory that it keeps. Not for two threads at once."""

    def __init__(self) -> None:
        self._order = SeriesOrder()

    def windows(self, segment: Segment) -> list[tuple[bytes | memoryview, ...]]:
        """The blocks of each record, one for each of TABLES; empty where it has no rows.

        Raises: OSError; ValueError if the file is not the segment it was when it was closed.
        """
        if segment.windows is not None:
            return [window.blocks for window in segment.windows]
        data = memoryview(_read(segment))
        found: list[tuple[bytes | memoryview, ...]] = []
        readings = 0
        for item in scan(Bytes(data), segment.name):
            if isinstance(item, Record):
                found.append(_blocks(data, item))
                readings += sum(item.head.readings)
        if readings != sum(segment.readings):
            raise ValueError(f"spool segment {segment.name} is damaged: {readings} of {sum(segment.readings)} readings")
        return found

    def read(self, segment: Segment) -> list[tuple[str, bytes]]:
        """Tables with their Native blocks, in the order in which they are to be inserted.

        The same segment gives the same bytes, so that a retry is the same insert; quarantine rows get their ids here,
        from the segment's name and their place. `latest` follows from the readings; readings of an older version,
        whose columns are others, are taken as they are and leave it alone.
        Raises: OSError; ValueError if the file is not the segment it was when it was closed.
        """
        windows = self.windows(segment)
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


def _blocks(data: memoryview, record: Record) -> tuple[memoryview, ...]:
    at = record.at + record.head.size_bytes
    blocks = []
    for size in record.head.block_bytes[: len(TABLES)]:
        blocks.append(data[at : at + size])
        at += size
    return tuple(blocks)
