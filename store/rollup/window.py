"""Windows: which cells (bucket of time by block of devices) are computed together."""

from collections.abc import Iterable

import msgspec

# A query over more devices at once would hold too many groups in memory.
_BLOCKS = 256
# Cells between two that are due are computed along with them rather than in a query more.
_GAP_BUCKETS = 144


class Cell(msgspec.Struct, frozen=True):
    """One bucket of one block that is due.

    Attributes:
        bucket: its start, seconds since 1970 UTC.
        rows: what rollup_changes says of it; what is noted when it is done.
        is_redone: it was computed before.
    """

    bucket: int
    block: int
    rows: int
    is_redone: bool = False


class Window(msgspec.Struct, frozen=True):
    """Times and blocks, half open, and the cells in it that were due."""

    start: int
    end: int
    block_start: int
    block_end: int
    cells: tuple[Cell, ...]

    @property
    def is_redone(self) -> bool:
        return any(cell.is_redone for cell in self.cells)


def windows(cells: Iterable[Cell], bucket_s: int, max_rows: int) -> list[Window]:
    """Few rectangles that hold all cells, the newest first.

    What lies in a rectangle without being due is computed again, which changes nothing. Buckets are joined while the
    rows of their cells are at most `max_rows` (one bucket may have more).
    """
    groups: dict[int, dict[int, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault(cell.block // _BLOCKS, {}).setdefault(cell.bucket, []).append(cell)
    found = []
    for by_bucket in groups.values():
        pending: list[Cell] = []
        rows = 0
        for bucket in sorted(by_bucket):
            more = sum(cell.rows for cell in by_bucket[bucket])
            is_far = bool(pending) and bucket - pending[-1].bucket > _GAP_BUCKETS * bucket_s
            if pending and (is_far or rows + more > max_rows):
                found.append(_around(pending, bucket_s))
                pending, rows = [], 0
            pending.extend(by_bucket[bucket])
            rows += more
        found.append(_around(pending, bucket_s))
    return sorted(found, key=lambda window: window.start, reverse=True)


def _around(cells: list[Cell], bucket_s: int) -> Window:
    blocks = [cell.block for cell in cells]
    return Window(cells[0].bucket, cells[-1].bucket + bucket_s, min(blocks), max(blocks) + 1, tuple(cells))
