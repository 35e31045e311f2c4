"""Rows of a recorded CSV to readings: streams, counts what it skips and why, names line and column of what is wrong."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.payload import Reading
from loadtest.replay.clock import SkippedStampError, stamp_reader
from loadtest.replay.mapping import DeviceRule, MapError, ReplayMap


@dataclass(slots=True)
class RowTally:
    """`values` = rows x mapped columns = `readings` + sum of `skipped`."""

    rows: int = 0
    values: int = 0
    readings: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    # The first of each reason that points at a fault rather than at a gap: "line 7, column `ts`: unparsable time 'x'".
    examples: dict[str, str] = field(default_factory=dict)

    def skip(self, reason: str, count: int, example: str = "") -> None:
        self.skipped[reason] += count
        if example:
            self.examples.setdefault(reason, example)


@dataclass(frozen=True, slots=True)
class Place:
    """What the rows tell of a device, for its registration. Degrees; None where the file does not say."""

    device_id: str
    rule: DeviceRule
    lat: float | None
    lon: float | None


def read_rows(path: Path, replay_map: ReplayMap, tally: RowTally, limit: int | None = None) -> Iterator[Reading]:
    """Yield the readings of the first `limit` rows in the file's order.

    Raises: MapError when the file cannot be read, is empty, or lacks a column of the map.
    """
    stamp_of = stamp_reader(replay_map.time)
    value_of = _value_reader(replay_map.missing)
    width = len(replay_map.values)
    stamp_columns = ", ".join(f"`{name}`" for name in replay_map.time.source_columns)
    for line, row in _rows(path, replay_map, limit):
        tally.rows += 1
        tally.values += width
        if not all(row_filter.keeps(row) for row_filter in replay_map.filters):
            tally.skip("filtered", width)
            continue
        try:
            ts_ms = stamp_of(row)
        except SkippedStampError as exc:
            text = " ".join(row[name] for name in replay_map.time.source_columns)
            tally.skip(str(exc), width, f"line {line}, {stamp_columns}: {exc}: {text!r}")
            continue
        own_id = replay_map.device.device_id(row)
        for rule in replay_map.values:
            device_id = rule.device.device_id(row) if rule.device else own_id
            if not device_id:
                tally.skip("no device", 1, f"line {line}: the columns of {replay_map.device.id!r} are empty")
                continue
            value = value_of(row[rule.column])
            if isinstance(value, str):
                fault = f"line {line}, column `{rule.column}`: {value} {row[rule.column]!r}"
                tally.skip(value, 1, fault if value.startswith("un") else "")
                continue
            tally.readings += 1
            yield Reading(device_id, rule.metric, ts_ms, value, rule.unit)


def places(path: Path, replay_map: ReplayMap, limit: int | None = None) -> dict[str, Place]:
    """Every device that the file's rows name, with its place. Raises as `read_rows`."""
    found: dict[str, Place] = {}
    rules = [replay_map.device] if any(value.device is None for value in replay_map.values) else []
    rules += [value.device for value in replay_map.values if value.device is not None]
    for _, row in _rows(path, replay_map, limit):
        for rule in rules:
            device_id = rule.device_id(row)
            if device_id and device_id not in found:
                found[device_id] = Place(device_id, rule, _degrees(rule.lat, row), _degrees(rule.lon, row))
    return found


def _rows(path: Path, replay_map: ReplayMap, limit: int | None) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        with path.open(newline="", encoding=replay_map.file.encoding) as file:
            reader = csv.reader(file, delimiter=replay_map.file.delimiter)
            header = next(reader, None)
            if header is None:
                raise MapError(f"{path} is empty")
            header = [name.strip() for name in header]
            absent = [name for name in replay_map.source_columns if name not in header]
            if absent:
                raise MapError(
                    f"{path}, line 1: no column {', '.join(f'`{name}`' for name in absent)}; "
                    f"the file has {', '.join(f'`{name}`' for name in header)}"
                )
            number = -1
            for number, cells in enumerate(reader):
                if number == limit:
                    return
                # A row that is cut short reads as if its last cells were blank.
                yield reader.line_num, dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False))
            if number < 0:
                raise MapError(f"{path} has a header, but no rows")
    except OSError as exc:
        raise MapError(f"cannot read {path}: {exc.strerror}") from exc
    except (LookupError, UnicodeError) as exc:
        raise MapError(f"{path} is not {replay_map.file.encoding}: {exc}; set `file.encoding` in the map") from exc
    except csv.Error as exc:
        raise MapError(f"{path}, line {reader.line_num}: {exc}") from exc


def _value_reader(missing: tuple[str | int | float, ...]) -> Callable[[str], float | str]:
    texts = frozenset(marker for marker in missing if isinstance(marker, str))
    numbers = {float(marker): f"sentinel {marker:g}" for marker in missing if not isinstance(marker, str)}

    def read(text: str) -> float | str:
        """The value, or the reason why there is none."""
        text = text.strip()
        if text in texts:
            return "missing value"
        try:
            value = float(text) if "_" not in text else math.nan  # Python reads 1_000 as a number, nobody else does
        except ValueError:
            return "unparsable value"
        if value in numbers:
            return numbers[value]
        return value if math.isfinite(value) else "unparsable value"

    return read


def _degrees(source: str | float, row: Mapping[str, str]) -> float | None:
    if not isinstance(source, str):
        return source
    try:
        return float(row[source]) if source else None
    except ValueError:
        return None
