"""A closed segment as insert bodies: readings in the table's order, and the newest of each series beside them."""

from contextlib import suppress

from ext.clickhouse.quarantine_ids import with_ids
from ext.clickhouse.series_order import SeriesOrder
from ingest.model import TABLES, Segment
from ingest.spool.record import scan


class SegmentReader:
    """Reads segments one after the other, with working memory that it keeps. Not for two threads at once."""

    def __init__(self) -> None:
        self._order = SeriesOrder()

    def read(self, segment: Segment) -> list[tuple[str, bytes]]:
        """Tables with their Native blocks, in the order in which they are to be inserted.

        The same segment gives the same bytes, so that a retry is the same insert; quarantine rows get their ids here,
        from the segment's name and their place. `latest` follows from the readings; readings of an older version,
        whose columns are others, are taken as they are and leave it alone.
        Raises: OSError; ValueError if the file is not the segment it was when it was closed.
        """
        data = memoryview(segment.path.read_bytes())
        records = list(scan(data))
        if not records or records[-1].end != segment.size_bytes:
            raise ValueError(f"spool segment {segment.name} is damaged")
        bodies = []
        for table, name in enumerate(TABLES):
            blocks = [record.blocks[table] for record in records if record.blocks[table]]
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
