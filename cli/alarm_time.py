"""Times of alarms as people write them, and as they are shown."""

from datetime import UTC, datetime

from cli.errors import CommandError, ExitCode


def text_of(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def time_of(text: str, option: str) -> datetime:
    """Now where nothing is said. Raises CommandError if it is no time, or has no zone."""
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise CommandError(f"{option}: {text!r} is no time", ExitCode.USAGE, "2025-10-07T06:30+07:00") from exc
    if moment.tzinfo is None:
        raise CommandError(f"{option}: {text!r} has no zone", ExitCode.USAGE, "add +07:00 or Z")
    return moment
