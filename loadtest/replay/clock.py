"""Recorded stamps to UTC milliseconds, by the map's zone and by its answer to clocks that were set back or forward."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from loadtest.replay.mapping import TimeRule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class SkippedStampError(ValueError):
    """The stamp gives no time; the text is the reason that the report counts."""


def stamp_reader(rule: TimeRule) -> Callable[[Mapping[str, str]], int]:
    """A function from a row to UTC milliseconds; it raises SkippedStampError."""
    zone = ZoneInfo(rule.zone) if rule.zone else None
    if rule.columns:
        columns = rule.columns
        return lambda row: _local(_calendar([row[name] for name in columns]), zone, rule)
    column = rule.column
    if rule.format == "unix_s":
        return lambda row: _unix(row[column], 1000)
    if rule.format == "unix_ms":
        return lambda row: _unix(row[column], 1)
    if rule.format == "iso8601":
        return lambda row: _local(_iso8601(row[column].strip()), zone, rule)
    pattern = rule.format
    return lambda row: _local(_pattern(row[column].strip(), pattern), zone, rule)


def to_ms(moment: datetime) -> int:
    return (moment - EPOCH) // _MILLISECOND


def _calendar(parts: list[str]) -> datetime:
    try:
        year, month, day, hour, minute, second = (*(int(part) for part in parts), 0, 0, 0)[:6]
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
    except ValueError as exc:
        raise SkippedStampError("unparsable time") from exc


def _iso8601(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as exc:
        raise SkippedStampError("unparsable time") from exc


def _pattern(text: str, pattern: str) -> datetime:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007
    except ValueError as exc:
        raise SkippedStampError("unparsable time") from exc


def _unix(text: str, factor: int) -> int:
    try:
        number = float(text)
        return int(text) * factor if number.is_integer() and "." not in text else round(number * factor)
    except (ValueError, OverflowError) as exc:
        raise SkippedStampError("unparsable time") from exc


def _local(moment: datetime, zone: ZoneInfo | None, rule: TimeRule) -> int:
    if moment.tzinfo is not None:
        return to_ms(moment)
    if zone is None:
        raise SkippedStampError("time without a zone")
    first = moment.replace(tzinfo=zone, fold=0)
    second = moment.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    if before == after:
        return to_ms(first)
    assert before is not None
    assert after is not None
    if before > after:  # set back: the stamp came twice
        if rule.ambiguous == "skip":
            raise SkippedStampError("ambiguous time")
        return to_ms(first if rule.ambiguous == "earlier" else second)
    if rule.nonexistent == "skip":  # set forward: the stamp never came
        raise SkippedStampError("nonexistent time")
    return to_ms(first)  # PEP 495: fold 0 in a gap uses the offset before it, which lands after it
