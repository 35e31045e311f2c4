"""`cityfleet export tt10`: readings as the files that automatic stations send to the environment ministry.

Circular 10/2021/TT-BTNMT, Annex 15: a text file for each station and moment, a line for each parameter, five fields
between tabs: symbol, value, unit, time (local, yyyyMMddHHmmss), state (00 measuring, 01 calibrating, 02 fault).
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple

import aiohttp
import msgspec
import typer

from cli.errors import CommandError, ExitCode
from cli.moment import moment_ms
from cli.query import store_endpoint
from cli.settings import ConfigOption, DataOption

_LOCAL = timezone(timedelta(hours=7))
# Symbols of the circular's table 34, and how units are written there.
SYMBOLS = {
    "pm2_5_ug_m3": ("PM2,5", "ug/Nm3"),
    "pm10_ug_m3": ("PM10", "ug/Nm3"),
    "so2_ug_m3": ("SO2", "ug/Nm3"),
    "no2_ug_m3": ("NO2", "ug/Nm3"),
    "o3_ug_m3": ("O3", "ug/Nm3"),
    "co_ug_m3": ("CO", "ug/Nm3"),
    "tsp_ug_m3": ("PM", "ug/Nm3"),
    "temperature_cel": ("Temp", "oC"),
    "humidity_pct": ("RH", "%"),
}
_CALIBRATION = 4096
_FAIL, _MISSING = 4, 9
_PART = re.compile(r"[A-Za-z0-9-]+")
_SQL = """
SELECT
    d.device_id, d.labels['tt10_station'], r.metric, toUnixTimestamp64Milli(r.ts), r.value, r.quality, r.quality_reasons
FROM ioc.readings AS r
INNER JOIN (SELECT device_num, device_id, labels FROM ioc.devices) AS d ON d.device_num = r.device_num
WHERE r.device_num IN
    (
        SELECT device_num FROM ioc.device_metrics
        WHERE has({stations:Array(String)}, device_id)
            OR (empty({stations:Array(String)}) AND metric IN ('pm2_5_ug_m3', 'pm10_ug_m3'))
    )
    AND r.ts > fromUnixTimestamp64Milli({since:Int64}) AND r.ts <= fromUnixTimestamp64Milli({until:Int64})
    AND has({metrics:Array(String)}, r.metric)
ORDER BY d.device_id, r.ts, r.metric
FORMAT JSONCompactEachRow
"""


class Mark(StrEnum):
    POINT = "point"
    COMMA = "comma"


class Row(NamedTuple):
    device_id: str
    station: str
    metric: str
    ts_ms: int
    value: float
    quality: int
    reasons: int


class Style(NamedTuple):
    """How the receiving side wants it."""

    decimal: Mark
    pm25: Mark

    def line(self, row: Row) -> str:
        symbol, unit = SYMBOLS[row.metric]
        if self.pm25 is Mark.POINT:
            symbol = symbol.replace(",", ".")
        value = f"{row.value:.4f}".rstrip("0").rstrip(".")
        if value == "-0":
            value = "0"
        if self.decimal is Mark.COMMA:
            value = value.replace(".", ",")
        return f"{symbol}\t{value}\t{unit}\t{_stamp(row.ts_ms)}\t{state_of(row.quality, row.reasons)}\r\n"


def state_of(quality: int, reasons: int) -> str:
    """01 while the source calibrates, 02 for every other reading that failed or is missing, else 00."""
    if reasons & _CALIBRATION:
        return "01"
    return "02" if quality in (_FAIL, _MISSING) else "00"


def export_tt10(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Files come into FOLDER/STATION/yyyy/MM/dd.")],
    facility: Annotated[str, typer.Option("--facility", help="Code of who runs the stations, in each file's name.")],
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Measured after it: 2026-01-31T10:00Z or 2h.")],
    until: Annotated[
        str, typer.Option("--until", metavar="TIME", help="Measured then or before. Default: now.")
    ] = "0s",
    station: Annotated[
        list[str] | None,
        typer.Option("--station", "-s", help="Device id; may be repeated. Default: all that measure PM."),
    ] = None,
    province: Annotated[str, typer.Option("--province", help="Code of the province.")] = "HN",
    every_s: Annotated[int, typer.Option("--every", metavar="SECONDS", help="Time from file to file.", min=1)] = 300,
    decimal: Annotated[Mark, typer.Option("--decimal", help="Decimal mark of values.")] = Mark.POINT,
    pm25: Annotated[Mark, typer.Option("--pm25", help="PM2,5 as the circular prints it, or PM2.5.")] = Mark.COMMA,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write readings of air stations as the files of Circular 10/2021/TT-BTNMT.

    A file has the newest reading of each parameter in its span, each line with that reading's own time; it is named by
    the end of the span. STATION is the device's label `tt10_station`, else its id. The same readings give the same
    files; a file that is there as it should be is not touched.

    Examples:
        cityfleet export tt10 /srv/ftp --facility HNMT --since 1h
        cityfleet export tt10 out --facility HNMT --since 2026-10-01T00:00+07:00 --until 2026-10-02T00:00+07:00 -s a-1
    """
    for name, text in (("--province", province), ("--facility", facility)):
        if _PART.fullmatch(text) is None:
            raise CommandError(f"{name} is letters, digits and -, not {text!r}", ExitCode.USAGE)
    span_ms = every_s * 1000
    # Whole spans only: a file is complete when it is written.
    bounds = [moment_ms(text, name) // span_ms * span_ms for text, name in ((since, "--since"), (until, "--until"))]
    stations = station or []
    url, login = store_endpoint(config, data, os.environ)
    style = Style(decimal, pm25)
    written = kept = 0

    async def run() -> None:
        nonlocal written, kept
        async for at_ms, rows in _by_file(_rows(url, login, stations, bounds[0], bounds[1]), span_ms):
            name = rows[0].station or rows[0].device_id
            if _PART.fullmatch(name) is None:
                raise CommandError(f"{rows[0].device_id}: label tt10_station is letters, digits and -, not {name!r}")
            path = folder / name / datetime.fromtimestamp(at_ms / 1000, _LOCAL).strftime("%Y/%m/%d")
            path /= f"{province}_{facility}_{name}_{_stamp(at_ms)}.txt"
            if _write(path, "".join(style.line(row) for row in rows)):
                written += 1
            else:
                kept += 1

    try:
        asyncio.run(run())
    except (aiohttp.ClientConnectionError, TimeoutError) as exc:
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet store` or `cityfleet up`"
        ) from exc
    typer.echo(f"{written:,} files written, {kept:,} were there", err=True)


async def _rows(
    url: str, login: tuple[str, str], stations: Sequence[str], since_ms: int, until_ms: int
) -> AsyncIterator[Row]:
    """In the order of stations and times."""
    parameters = {
        "param_stations": _array(stations),
        "param_metrics": _array(SYMBOLS),
        "param_since": str(since_ms),
        "param_until": str(until_ms),
    }
    headers = {"X-ClickHouse-User": login[0], "X-ClickHouse-Key": login[1]}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, params=parameters, data=_SQL.encode(), headers=headers) as answer,
    ):
        if answer.status != 200:
            code = ExitCode.PERMISSION if answer.status in (401, 403) else ExitCode.ERROR
            raise CommandError((await answer.text(errors="replace")).strip(), code)
        try:
            async for line in answer.content:
                device_id, label, metric, ts_ms, value, quality, reasons = msgspec.json.decode(line)
                # Numbers of 64 bits come as texts.
                yield Row(device_id, label, metric, int(ts_ms), float(value), int(quality), int(reasons))
        except (aiohttp.ClientPayloadError, msgspec.DecodeError) as exc:
            raise CommandError(f"the answer broke off: {exc}") from exc


async def _by_file(rows: AsyncIterator[Row], span_ms: int) -> AsyncIterator[tuple[int, list[Row]]]:
    """End of the span (a reading at its very end belongs to it), and the newest row of each metric in it."""
    at: tuple[str, int] | None = None
    newest: dict[str, Row] = {}
    async for row in rows:
        here = (row.device_id, -(-row.ts_ms // span_ms) * span_ms)
        if at is not None and here != at:
            yield at[1], _in_order(newest.values())
            newest = {}
        at = here
        newest[row.metric] = row
    if at is not None:
        yield at[1], _in_order(newest.values())


def _in_order(rows: Iterable[Row]) -> list[Row]:
    places = list(SYMBOLS)
    return sorted(rows, key=lambda row: places.index(row.metric))


def _write(path: Path, text: str) -> bool:
    """False if the file is there as it should be. Whoever sends files never sees half of one."""
    body = text.encode("ascii")
    try:
        if path.read_bytes() == body:
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(".part")
    made.write_bytes(body)
    made.replace(path)
    return True


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).astimezone(_LOCAL).strftime("%Y%m%d%H%M%S")


def _array(texts: Iterable[str]) -> str:
    escaped = (text.replace("\\", "\\\\").replace("'", "\\'") for text in texts)
    return "[" + ",".join(f"'{text}'" for text in escaped) + "]"
