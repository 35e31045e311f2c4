"""How old an answer may be: `--max-age 10m` refuses one whose newest reading is older, before any of it is printed."""

import asyncio
import re
from datetime import UTC, datetime

import aiohttp
import msgspec

from cli.errors import CommandError, ExitCode
from store.catalogue import View

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# An aggregate over nothing is NULL here: of columns that can be NULL, and of those that cannot.
_NEWEST = (
    "SELECT count() AS n, toUnixTimestamp64Milli(maxOrNull(toDateTime64(as_of, 3, 'UTC'))) AS as_of, "
    "(SELECT toUnixTimestamp64Milli(maxOrNull(least(ts, received_at))) FROM cityfleet.latest) AS latest, "
    "(SELECT max(version) FROM cityfleet.fleet_now) AS run, "
    "toUnixTimestamp64Milli(now64(3)) AS now FROM ({})"
)


class _Newest(msgspec.Struct):
    """Rows of the answer; in ms since 1970 its newest reading, the newest of all, when steps of now ran, and now."""

    n: int
    as_of: int | None
    latest: int | None
    run: int
    now: int


def span_s(text: str) -> float:
    """Seconds. Raises CommandError for what is no length of time."""
    span = _SPAN.fullmatch(text.strip())
    if span is None:
        raise CommandError(f"--max-age: {text!r} is no length of time", ExitCode.USAGE, "90s, 15m, 2h or 7d")
    return float(span[1]) * _SECONDS[span[2]]


def hold(url: str, login: tuple[str, str], view: View, sql: str, max_age: str) -> None:
    """Raise CommandError if what the answer rests on is older.

    Nothing found is good news only where readings come and are looked at: an empty answer is held to the newest reading
    of all, and to when the steps of now ran last.

    Args:
        sql: the statement of the question; it is asked for its newest `as_of` alone.
    """
    longest_s = span_s(max_age)
    if not view.has("as_of"):
        raise CommandError(
            f"{view.name} has no as_of: it does not say how old it is", ExitCode.USAGE, "leave --max-age out"
        )
    found = asyncio.run(_newest(url, login, sql))
    as_of, latest, run = _real(found.as_of), _real(found.latest), _real(found.run)
    if found.n == 0:
        as_of = latest if latest is None or run is None else min(latest, run)
    if as_of is not None and found.now - as_of <= longest_s * 1000:
        return
    if found.n:
        said = f"as_of is {_text(as_of)}" if as_of is not None else "as_of is empty, it rests on no reading"
    elif as_of is not None:
        what = "the newest reading of all is" if as_of == latest else "what follows from readings is as"
        said = f"it is empty, and {what} of {_text(as_of)}"
    else:
        said = "it is empty, and there are no readings"
    if latest is not None and found.now - latest <= longest_s * 1000:
        remedy = (
            f"newer readings are there, of {_text(latest)}: `cityfleet query silent_devices` names the devices that do "
            "not send, `cityfleet store rollup status` how far the sums are"
        )
    else:
        remedy = "no device has sent anything newer: is ingest running? `cityfleet doctor` looks"
    raise CommandError(f"{view.name} is older than {max_age}: {said}", ExitCode.ERROR, remedy)


async def _newest(url: str, login: tuple[str, str], sql: str) -> _Newest:
    headers = {"X-ClickHouse-User": login[0], "X-ClickHouse-Key": login[1], "X-ClickHouse-Format": "JSONEachRow"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=_NEWEST.format(sql).encode(), headers=headers) as answer,
    ):
        body = await answer.read()
        if answer.status != 200:
            code = ExitCode.PERMISSION if answer.status in (401, 403) else ExitCode.ERROR
            raise CommandError(body.decode(errors="replace").strip(), code)
    # 64-bit numbers come as strings from a server that quotes them.
    return msgspec.json.decode(body, type=_Newest, strict=False)


def _real(at_ms: int | None) -> int | None:
    """Nothing is the epoch where a column cannot be NULL."""
    return at_ms if at_ms and at_ms > 0 else None


def _text(at_ms: int | None) -> str:
    return datetime.fromtimestamp((at_ms or 0) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
