"""The batch: columns that grow until they are sealed as Native blocks."""

from collections.abc import Callable

from ext.clickhouse.quarantine_block import QuarantineBlock
from ext.clickhouse.readings_block import ReadingsBlock
from ext.clickhouse.text_block import TextBlock
from ingest.model import SealedBatch


def _nothing() -> None:
    pass


class Batch:
    """Fills with the readings of any number of chunks, of any transports, all resolved against one device index."""

    def __init__(self) -> None:
        self.readings = ReadingsBlock()
        self.texts = TextBlock()
        self.quarantine = QuarantineBlock()
        # Readings sealed so far, those that quarantine rows stand for included.
        self.sealed_readings = 0

    @property
    def rows(self) -> int:
        """Readings to be stored, numbers and texts."""
        return len(self.readings) + len(self.texts)

    @property
    def quarantine_rows(self) -> int:
        return len(self.quarantine)

    @property
    def quarantined_readings(self) -> int:
        """Readings that the quarantine rows stand for."""
        return self.quarantine.quarantined_readings

    @property
    def size_bytes(self) -> int:
        """Memory of the columns; the sealed blocks together are of about this size."""
        return self.readings.size_bytes + self.texts.size_bytes + self.quarantine.size_bytes

    def seal(self, on_durable: Callable[[], None] = _nothing) -> SealedBatch:
        """The rows as one Native block per table, in the order of TABLES; the batch is empty then.

        The same chunks against the same state of the device index give the same bytes.
        """
        rows = (len(self.readings), self.quarantine_rows, len(self.texts))
        readings = (rows[0], self.quarantined_readings, rows[2])
        self.sealed_readings += sum(readings)
        blocks = (self.readings.seal(), self.quarantine.seal(), self.texts.seal())
        return SealedBatch(blocks, rows, readings, on_durable)

    def clear(self) -> None:
        """Throw the rows away, as after a MemoryError."""
        self.readings.clear()
        self.texts.clear()
        self.quarantine.clear()
