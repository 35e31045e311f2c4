"""Moments as people write them: a date and time, or how long ago."""

import re
import time
from datetime import UTC, datetime

from cli.errors import CommandError, ExitCode

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_ms(text: str, option: str) -> int:
    """Milliseconds since 1970. Raises CommandError for what is no time."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return round((time.time() - float(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as exc:
        remedy = "a date and time in UTC, 2026-01-31T10:00, or 90s, 15m, 2h, 7d, 4w ago"
        raise CommandError(f"{option}: {text!r} is no time", ExitCode.USAGE, remedy) from exc
