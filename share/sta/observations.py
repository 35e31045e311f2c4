"""Observations: the readings of one Datastream in a bounded span of time, and the newest of many Datastreams.

`@iot.id` is DATASTREAM-MILLISECONDS: one series has one reading at a time.
resultQuality is QARTOD's flag, with what tests in the store found.
"""

import re
import time
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from share.asking import Row, Store
from share.problem import Problem
from share.sta.options import Options
from share.times import to_ms, to_text

Values = dict[str, str | int | float]
DAY_MS = 86_400_000
_SPAN = "ts >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND ts < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
_SERIES = "device_num = {device:UInt32} AND metric_num = {metric:UInt16}"
# The flags are read by the same bounds: they are sorted as the readings are.
_SOURCE = f"""(
    SELECT
        toUnixTimestamp64Milli(r.ts) AS ms, r.value AS value, if(q.quality = 0, r.quality, q.quality) AS quality,
        if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS reasons,
        toUnixTimestamp64Milli(r.received_at) AS received_ms
    FROM
    (
        SELECT ts, value, quality, quality_reasons, received_at
        FROM cityfleet.readings FINAL
        WHERE {_SERIES} AND {_SPAN}
    ) AS r
    LEFT JOIN
    (
        SELECT ts, quality, quality_reasons FROM cityfleet.quality_flags FINAL WHERE {_SERIES} AND {_SPAN}
    ) AS q ON q.ts = r.ts
)"""
_LATEST = """
SELECT
    toUInt64(r.device_num) * 65536 + r.metric_num AS stream, toUnixTimestamp64Milli(r.ts) AS ms, r.value AS value,
    if(q.quality = 0, r.quality, q.quality) AS quality,
    if(q.quality = 0, r.quality_reasons, q.quality_reasons) AS reasons,
    toUnixTimestamp64Milli(r.received_at) AS received_ms
FROM (SELECT * FROM cityfleet.latest FINAL WHERE (device_num, metric_num) IN {series:Array(Tuple(UInt32, UInt16))}) AS r
LEFT JOIN
(
    SELECT device_num, metric_num, ts, quality, quality_reasons FROM cityfleet.quality_latest FINAL
    WHERE (device_num, metric_num) IN {series:Array(Tuple(UInt32, UInt16))}
) AS q ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.ts = r.ts"""


def split(stream: int) -> tuple[int, int]:
    """Device and metric of a Datastream. Raises Problem 404."""
    if not 0 <= stream < 1 << 48:
        raise Problem(404, "there is no such Datastream")
    return stream >> 16, stream & 0xFFFF


def entity(stream: int, row: Row) -> dict[str, Any]:
    at = to_text(int(row["ms"]))
    return {
        "@iot.id": f"{stream}-{row['ms']}",
        "phenomenonTime": at,
        "resultTime": at,
        "result": row["value"],
        "resultQuality": row["quality"],
        "parameters": {"received_at": to_text(int(row["received_ms"])), "quality_reasons": row["reasons"]},
    }


async def one(store: Store, request: web.Request, key: str) -> tuple[int, Row]:
    """Raises Problem 404."""
    found = re.fullmatch(r"([0-9]{1,15})-(-?[0-9]{1,13})", key)
    if not found:
        raise Problem(404, "there is no such Observation")
    stream, ms = int(found[1]), int(found[2])
    device, metric = split(stream)
    values: Values = {"device": device, "metric": metric, "from_ms": ms, "to_ms": ms + 1}
    rows = await store.rows(request, f"SELECT * FROM {_SOURCE} LIMIT 1", values)
    if not rows:
        raise Problem(404, "there is no such Observation")
    return stream, rows[0]


async def page(
    store: Store, request: web.Request, stream: int, options: Options, history_days: int
) -> tuple[list[Row], int | None, str]:
    """Rows, the count if it was asked for, and the token of the next page or nothing."""
    device, metric = split(stream)
    values: Values = {"device": device, "metric": metric}
    where = _conditions(options, values, history_days)
    if options.order not in ("", "phenomenonTime", "id", "@iot.id"):
        raise Problem(400, "Observations come by phenomenonTime, asc or desc", "$orderby")
    count = None
    if options.count:
        counted = await store.rows(request, f"SELECT count() AS n FROM {_SOURCE}{where}", values)
        count = int(counted[0]["n"])
    if options.token:
        if not re.fullmatch(r"-?[0-9]{1,13}", options.token):
            raise Problem(400, "not a token of ours", "$skiptoken")
        # Paging narrows the span itself, so that a late page costs no more than the first.
        last = int(options.token)
        if options.is_descending:
            values["to_ms"] = min(int(values["to_ms"]), last)
        else:
            values["from_ms"] = max(int(values["from_ms"]), last + 1)
    values |= {"top": options.top + 1, "skip": options.skip}
    direction = "DESC" if options.is_descending else "ASC"
    sql = f"SELECT * FROM {_SOURCE}{where} ORDER BY ms {direction} LIMIT {{top:UInt32}} OFFSET {{skip:UInt32}}"
    rows = await store.rows(request, sql, values)
    has_more = len(rows) > options.top
    rows = rows[: options.top]
    return rows, count, str(rows[-1]["ms"]) if has_more and rows else ""


def _conditions(options: Options, values: Values, history_days: int) -> str:
    """WHERE, and the span of time in `values`: what the terms say, at most `history_days`, by default up to now."""
    start: int | None = None
    end: int | None = None
    parts = []
    for number, term in enumerate(options.terms):
        if term.field in ("phenomenonTime", "resultTime"):
            at = to_ms(term.value, "$filter")
            low = {"=": at, ">=": at, ">": at + 1}.get(term.op)
            high = {"=": at + 1, "<=": at + 1, "<": at}.get(term.op)
            if low is None and high is None:
                raise Problem(400, "times are compared by eq, gt, ge, lt and le", "$filter")
            start = low if start is None else start if low is None else max(start, low)
            end = high if end is None else end if high is None else min(end, high)
        elif term.field in ("result", "resultQuality"):
            try:
                values[f"v{number}"] = float(term.value)
            except ValueError:
                raise Problem(400, f"not a number: {term.value[:40]!r}", "$filter") from None
            column = "value" if term.field == "result" else "quality"
            parts.append(f"{column} {term.op} {{v{number}:Float64}}")
        elif term.field not in ("Datastream/id", "Datastream/@iot.id"):
            raise Problem(
                400,
                f"{term.field[:40]!r}: there are phenomenonTime, result, resultQuality and Datastream/id",
                "$filter",
            )
    most = history_days * DAY_MS
    if end is None:
        end = start + most if start is not None else round(time.time() * 1000) + DAY_MS
    if start is None:
        start = end - most
    if end - start > most:
        raise Problem(400, f"phenomenonTime spans more than {history_days} days: ask for parts of it", "$filter")
    values |= {"from_ms": start, "to_ms": end}
    return " WHERE " + " AND ".join(parts) if parts else ""


async def latest(store: Store, request: web.Request, streams: Iterable[int]) -> dict[int, Row]:
    """The newest reading by Datastream, from the table of the newest: its cost is that of the page."""
    series = ",".join(f"({stream >> 16},{stream & 0xFFFF})" for stream in streams)
    rows = await store.rows(request, _LATEST, {"series": f"[{series}]"}) if series else []
    return {int(row["stream"]): row for row in rows}
