"""What the process before left: segments with what is whole in them, and an account of what is not. Never refuses."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from ingest.disk import move_aside
from ingest.model import TABLES, Segment
from ingest.spool.backlog import DAMAGED_SUFFIX
from ingest.spool.metrics import FILES_SET_ASIDE, LOST_BYTES, LOST_READINGS
from ingest.spool.numbers import Numbers, parse_name
from ingest.spool.record import MAGIC, MAX_HEAD_BYTES, Head, end_mark, name_seed, read_head, stated_segment
from ingest.spool.scan import Gap, OpenFile, Source, scan

log = structlog.get_logger()

SUFFIX = ".seg"


class Loss(msgspec.Struct, frozen=True):
    """A place in a segment that could not be read.

    `readings` is None where nothing tells how many it held; `received_ms` are the times between which they came,
    0 where nothing tells. Unfinished: the last record, and nobody says that it was ever whole.
    """

    segment: str
    at: int
    end: int
    readings: int | None
    received_ms: tuple[int, int]
    is_unfinished: bool = False


class Contents(msgspec.Struct):
    """What is in a segment's file."""

    size_bytes: int = 0  # to the end of its last whole record
    records: int = 0
    rows: list[int] = msgspec.field(default_factory=lambda: [0] * len(TABLES))
    readings: list[int] = msgspec.field(default_factory=lambda: [0] * len(TABLES))
    received_ms: tuple[int, int] = (0, 0)
    # Readings of its records, lost ones before the last whole record included.
    accounted: int = 0
    losses: list[Loss] = msgspec.field(default_factory=list)
    # Behind the last whole record.
    tail: list[Gap] = msgspec.field(default_factory=list)
    # Number and readings of the segment before, as its heads tell.
    previous: tuple[int, int] = (0, 0)
    is_newer: bool = False


def examine(source: Source, name: str) -> Contents:
    """Read all of a segment, one piece at a time."""
    found = Contents()
    pending: list[Gap] = []
    last_ms = 0
    for item in scan(source, name):
        if item.head is not None:
            found.is_newer |= item.head.is_newer
            if item.head.previous:
                found.previous = (item.head.previous, item.head.previous_readings)
        if isinstance(item, Gap):
            pending.append(item)
            continue
        if pending:
            found.losses += _losses(name, pending, found.accounted, item.head, last_ms)
            pending = []
        head = item.head
        found.size_bytes = item.end
        found.records += 1
        found.rows = [sum(pair) for pair in zip(found.rows, head.rows, strict=False)]
        found.readings = [sum(pair) for pair in zip(found.readings, head.readings, strict=False)]
        found.accounted = sum(found.readings) if head.is_old else head.readings_before + sum(head.readings)
        found.received_ms = _span(found.received_ms, head.received_ms)
        last_ms = head.received_ms[1]
    mark = end_mark(name_seed(name), found.size_bytes)
    if bytes(source.read(found.size_bytes, len(mark))) != mark:
        found.tail = [_without_stale(source, name, gap) for gap in pending]
    return found


def _without_stale(source: Source, name: str, gap: Gap) -> Gap:
    """The gap up to the first record of a segment that had the file before."""
    node = (parse_name(name) or ("", 0))[0]
    at = gap.at
    while gap.head is None and 0 <= (at := source.find(MAGIC, at)) < gap.end:
        data = source.read(at, MAX_HEAD_BYTES)
        if read_head(data, name_seed(f"{node}-{stated_segment(data)}")) is not None:
            return Gap(gap.at, at, None)
        at += 1
    return gap


def _losses(name: str, gaps: list[Gap], before: int, then: Head, last_ms: int) -> Iterator[Loss]:
    """What was between two whole records, of which the second knows how many readings came before it."""
    known = 0
    for gap in gaps:
        if gap.head is not None:
            known += sum(gap.head.readings)
            yield Loss(name, gap.at, gap.end, sum(gap.head.readings), gap.head.received_ms)
    nameless = [gap for gap in gaps if gap.head is None]
    for gap in nameless:
        # Of several, the first is given all readings that no head tells of.
        rest = max(0, then.readings_before - before - known) if gap is nameless[0] else 0
        readings = None if then.is_old else rest
        yield Loss(name, gap.at, gap.end, readings, (last_ms, then.received_ms[0]))


def _span(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Both times together; (0, 0) is none."""
    if (0, 0) in (one, other):
        return max(one, other)
    return min(one[0], other[0]), max(one[1], other[1])


class Recovery:
    """Looks through a spool's folder once, reading one file at a time and no more of it than one window."""

    def __init__(self, folder: Path, numbers: Numbers) -> None:
        self._folder = folder
        self._numbers = numbers
        self.losses: list[Loss] = []
        # Names of segments that have damage; their files are worth keeping.
        self.damaged: set[str] = set()

    def run(self) -> list[Segment]:
        """Segments with something whole in them, oldest first. What is lost is logged, counted and in `losses`."""
        found: dict[tuple[str, int], tuple[Path, Contents]] = {}
        for node, number, path in sorted(self._files()):
            contents = self._examine(path)
            if contents is not None:
                found[node, number] = (path, contents)
        told: dict[tuple[str, int], int] = {}
        for (node, _), (_, contents) in found.items():
            if contents.previous[0]:
                told[node, contents.previous[0]] = contents.previous[1]
        segments = []
        for key, (path, contents) in found.items():
            losses = contents.losses + _tail_losses(path.stem, contents, told.get(key))
            self._report(losses)
            if any(not loss.is_unfinished for loss in losses):
                self.damaged.add(path.stem)
            if any(contents.rows):
                segments.append(
                    Segment(
                        path.stem,
                        path,
                        contents.size_bytes,
                        tuple(contents.rows),
                        tuple(contents.readings),
                        contents.received_ms,
                    )
                )
            else:
                self._clear(path, contents)
        return segments

    def _files(self) -> Iterator[tuple[str, int, Path]]:
        """Files of segments, this spool's own behind those of another name that it had."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError as exc:
            log.error("spool_folder_unreadable", path=str(self._folder), reason=exc.strerror)
            return
        for name in names:
            stem, dot, rest = name.partition(".")
            place = parse_name(stem)
            if place is not None:
                self._numbers.seen(*place)  # also what is set aside has used its number
            if dot + rest != SUFFIX:
                continue
            path = self._folder / name
            if place is None:
                self._set_aside(path, "not a segment's name")
            else:
                yield *place, path

    def _examine(self, path: Path) -> Contents | None:
        try:
            # Not to wait for the other end, should it be a pipe.
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                about = os.fstat(file)
                if not stat.S_ISREG(about.st_mode):
                    self._set_aside(path, "not a file")
                    return None
                source = OpenFile(file, about.st_size)
                contents = examine(source, path.stem)
            finally:
                os.close(file)
        except OSError as exc:
            self._set_aside(path, exc.strerror or str(exc))
            return None
        if contents.is_newer:
            self._set_aside(path, "written by a newer version")
            return None
        if source.unreadable_bytes:
            log.error("spool_file_unreadable", segment=path.stem, unreadable_bytes=source.unreadable_bytes)
        return contents

    def _clear(self, path: Path, contents: Contents) -> None:
        """Nothing in it is whole: nobody has begun to write it, or it is damaged from end to end."""
        if all(gap.at == gap.end for gap in contents.tail):
            _unlink(path)
        else:
            self._set_aside(path, "nothing whole in it", DAMAGED_SUFFIX)

    def _report(self, losses: list[Loss]) -> None:
        self.losses += losses
        for loss in losses:
            kind = "unfinished" if loss.is_unfinished else "damaged"
            if loss.readings:
                LOST_READINGS.labels(kind).inc(loss.readings)
            elif loss.readings is None:
                LOST_BYTES.inc(loss.end - loss.at)
            (log.warning if loss.is_unfinished else log.error)(
                "spool_record_unfinished" if loss.is_unfinished else "spool_record_damaged",
                segment=loss.segment,
                at=loss.at,
                bytes=loss.end - loss.at,
                readings="unknown" if loss.readings is None else loss.readings,
                received_ms=loss.received_ms,
            )

    def _set_aside(self, path: Path, reason: str, suffix: str = ".aside") -> None:
        FILES_SET_ASIDE.inc()
        try:
            aside = move_aside(path, suffix)
            log.error("spool_file_set_aside", file=path.name, path=str(aside), reason=reason)
        except OSError as exc:
            log.error("spool_file_not_moved", file=path.name, reason=f"{reason}; {exc.strerror}")


def _tail_losses(name: str, contents: Contents, told: int | None) -> list[Loss]:
    """What was behind the last whole record.

    Args:
        told: how many readings the segment had when it was closed, if the one behind it says so.
    """
    tail = contents.tail
    if told is not None:
        missing = told - contents.accounted
        if missing <= 0:
            return []  # nothing more was ever acknowledged
        at = tail[0].at if tail else contents.size_bytes
        return [Loss(name, at, tail[-1].end if tail else at, missing, (contents.received_ms[1], 0))]
    return [
        Loss(
            name,
            gap.at,
            gap.end,
            sum(gap.head.readings) if gap.head is not None else None,
            gap.head.received_ms if gap.head is not None else (0, 0),
            is_unfinished=True,
        )
        for gap in tail
        if gap.end > gap.at
    ]


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as exc:
        log.warning("spool_file_not_removed", file=path.name, reason=exc.strerror)
