"""Blocks of cityfleet.readings in the table's order, as one block; and the newest row of each series."""

from collections.abc import Sequence

class SeriesOrder:
    def sort(self, blocks: Sequence[bytes | memoryview]) -> tuple[bytes, bytes]: ...
