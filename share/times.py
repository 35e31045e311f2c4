"""Times on the wire: RFC 3339 with a zone, milliseconds since 1970 inside."""

from datetime import UTC, datetime

from share.problem import Problem

# 1900 to 2299: what the store's DateTime64 holds.
_FIRST, _LAST = -2_208_988_800_000, 10_413_791_999_999


def to_text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_ms(text: str, parameter: str) -> int:
    """Raises Problem 400: no time, no zone, or outside of 1900 to 2299."""
    # A `+` that was not escaped in the address came as a blank.
    try:
        moment = datetime.fromisoformat(text.strip().replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError
        ms = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Problem(400, f"not a time with its zone, as 2026-11-21T07:00:00Z: {text[:40]!r}", parameter) from None
    if not _FIRST <= ms <= _LAST:
        raise Problem(400, "the time is outside of 1900 to 2299", parameter)
    return ms
