"""Ids for rows of cityfleet.quarantine: a column `id` behind the others of its Native blocks."""

from collections.abc import Sequence

def with_ids(blocks: Sequence[bytes | memoryview], source: str) -> bytes: ...
