"""Values of a filter: numbers, times, spans of time."""

import re
from datetime import UTC, datetime, timedelta

_NUMBER = re.compile(r"[+-]?\d{1,19}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d))?")
_SPAN = re.compile(r"(\d{1,9})(?:\.(\d{1,3}))?([smhdw])")
_SPAN_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_of(text: str) -> int | None:
    """A whole number that fits into 64 bits; None: it is none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def decimal_of(text: str) -> float | None:
    try:
        number = float(text) if len(text) <= 40 and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < float("inf") else None


def time_ms_of(text: str) -> int | None:
    """RFC 3339, or a date alone for its beginning in UTC, as milliseconds since the epoch; parts of one are cut off."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    date, clock, fraction, offset = found.groups()
    zone = "+00:00" if offset in (None, "Z", "z") else offset
    try:
        at = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{zone}")
    except ValueError:
        return None
    return (at - _EPOCH) // timedelta(milliseconds=1) + int((fraction or "")[:3].ljust(3, "0"))


def span_ms_of(text: str) -> int | None:
    """`90s`, `1.5h`, `7d`: s, m, h, d, w."""
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    whole, fraction, unit = found.groups()
    return int(whole) * _SPAN_MS[unit] + int((fraction or "0").ljust(3, "0")) * _SPAN_MS[unit] // 1000
