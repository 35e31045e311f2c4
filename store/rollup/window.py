"""Windows: which cells (bucket of time by block of devices) are computed together."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

# A query over more devices at once would hold too many groups in memory.
_BLOCKS = 256
# Cells between two that are due are computed along with them rather than in a query more.
_GAP_BUCKETS = 144
# More buckets than this that are due are a backlog.
_BACKLOG = 12
# Of a backlog, what began no more than so many buckets ago comes first, and by itself.
_NEW = 7
# So many cells that are not due are less work than a query more.
_SPARE_CELLS = 200


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


def windows(
    cells: Iterable[Cell], bucket_s: int, max_rows: int, *, now_s: int, counts_cells: bool = False
) -> list[Window]:
    """Few rectangles that hold all cells, the newest first.

    What lies in a rectangle without being due is computed again, which changes nothing. The newest buckets are joined
    while the rows of their cells are at most `max_rows` (one bucket may have more). Of a backlog of many buckets, few
    blocks are taken over a long time: rows lie by device, and a short time of all devices would read the blocks on disk
    in which it lies again and again. So only what has just ended goes before it.

    Args:
        now_s: seconds since 1970 UTC.
        counts_cells: `max_rows` is of cells: what they say of rows are not the rows that are read for them.
    """
    groups: dict[int, dict[int, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault(cell.block // _BLOCKS, {}).setdefault(cell.bucket, []).append(cell)
    made: list[Window] = []
    for by_bucket in groups.values():
        buckets = sorted(by_bucket)
        blocks = {cell.block for found in by_bucket.values() for cell in found}
        is_backlog = len(buckets) > _BACKLOG and len(blocks) > 1
        old = [bucket for bucket in buckets if bucket < now_s - _NEW * bucket_s] if is_backlog else []
        weigh = len if counts_cells else _rows
        made += _by_time(by_bucket, buckets[len(old) :], bucket_s, max_rows, weigh)
        if old:
            made += _by_blocks([cell for bucket in old for cell in by_bucket[bucket]], bucket_s, max_rows, weigh)
    return sorted(made, key=lambda window: window.start, reverse=True)


def _rows(cells: list[Cell]) -> int:
    return sum(cell.rows for cell in cells)


def _by_time(
    by_bucket: dict[int, list[Cell]], buckets: list[int], bucket_s: int, most: int, weigh: Callable[[list[Cell]], int]
) -> Iterator[Window]:
    """All blocks together, few buckets at once."""
    pending: list[Cell] = []
    weight = 0
    for bucket in buckets:
        more = weigh(by_bucket[bucket])
        is_far = bool(pending) and bucket - pending[-1].bucket > _GAP_BUCKETS * bucket_s
        if pending and (is_far or weight + more > most):
            yield _around(pending, bucket_s)
            pending, weight = [], 0
        pending.extend(by_bucket[bucket])
        weight += more
    if pending:
        yield _around(pending, bucket_s)


def _by_blocks(cells: list[Cell], bucket_s: int, most: int, weigh: Callable[[list[Cell]], int]) -> Iterator[Window]:
    """Few blocks at once over all their buckets, as far as these lie close; a block that has too much by time."""
    mean = max(1, weigh(cells) // len(cells))
    by_block: dict[int, dict[int, list[Cell]]] = {}
    for cell in cells:
        by_block.setdefault(cell.block, {}).setdefault(cell.bucket, []).append(cell)
    pending: list[Cell] = []
    weight = first = last = 0
    for block in sorted(by_block):
        by_bucket = by_block[block]
        more = sum(map(weigh, by_bucket.values()))
        begin, end = min(by_bucket), max(by_bucket)
        is_alone = more > most or (end - begin) // bucket_s * mean > 4 * more + _SPARE_CELLS * mean
        if pending and not is_alone:
            low, high = min(first, begin), max(last, end)
            area = ((high - low) // bucket_s + 1) * (block - pending[0].block + 1) * mean
            # Far apart, what lies between would be most of the work.
            is_near = area <= 4 * (weight + more) + _SPARE_CELLS * mean
            if weight + more <= most and is_near:
                pending.extend(cell for found in by_bucket.values() for cell in found)
                weight, first, last = weight + more, low, high
                continue
        if pending:
            yield _around(pending, bucket_s)
            pending = []
        if is_alone:
            yield from _by_time(by_bucket, sorted(by_bucket), bucket_s, most, weigh)
        else:
            pending = [cell for found in by_bucket.values() for cell in found]
            weight, first, last = more, begin, end
    if pending:
        yield _around(pending, bucket_s)


def _around(cells: list[Cell], bucket_s: int) -> Window:
    buckets, blocks = [cell.bucket for cell in cells], [cell.block for cell in cells]
    return Window(min(buckets), max(buckets) + bucket_s, min(blocks), max(blocks) + 1, tuple(cells))
