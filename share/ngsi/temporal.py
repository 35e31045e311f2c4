"""Histories of entities: values of a bounded span of time, as instances or as pairs of value and time.

An answer has at most so many values. One that would have more ends at a time up to which every series is whole, and
says so as NGSI-LD has it: 206 with Content-Range.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from share.asking import Row, Store
from share.ngsi.entities import Entity, entity_id, prop
from share.ngsi.models import Model
from share.ngsi.rows import metrics_of
from share.problem import Problem
from share.times import to_ms, to_text

DAY_MS = 86_400_000
PARAMETERS = ("timerel", "timeAt", "endTimeAt", "timeproperty", "lastN")
OPTIONS = ("temporalValues",)
MAX_VALUES = 10_000
# Of many entities an answer spans fewer days: so many times the days of one.
_ENTITY_SPANS, _MAX_ENTITIES = 10, 100
_WHERE = (
    "device_num IN {devices:Array(UInt32)} AND metric_num IN {metrics:Array(UInt16)} "
    "AND ts >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND ts < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')"
)
_VALUES = f"""
SELECT
    r.device_num AS device_num, r.metric_num AS metric_num, toUnixTimestamp64Milli(r.ts) AS ms, r.value AS value,
    if(q.quality = 0, r.quality, q.quality) AS quality
FROM
(
    SELECT device_num, metric_num, ts, value, quality FROM cityfleet.readings FINAL WHERE {_WHERE}
) AS r
LEFT JOIN
(
    SELECT device_num, metric_num, ts, quality FROM cityfleet.quality_flags FINAL WHERE {_WHERE}
) AS q ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.ts = r.ts
WHERE quality NOT IN (4, 9)"""


@dataclass(frozen=True)
class Span:
    """Milliseconds, the end not included. `last_n`: the newest so many of each series; 0: all."""

    start: int
    end: int
    last_n: int

    @property
    def days(self) -> int:
        return max(1, -(-(self.end - self.start) // DAY_MS))


def span(query: Mapping[str, str], history_days: int, is_needed: bool) -> Span:
    """Raises Problem 400: no time where one is needed, or one of too many days."""
    most = history_days * DAY_MS
    relation = query.get("timerel", "")
    if query.get("timeproperty", "observedAt") != "observedAt":
        raise Problem(400, "observedAt is what there is", "timeproperty")
    last_n = query.get("lastN", "0")
    if not re.fullmatch(r"[0-9]{1,6}", last_n):
        raise Problem(400, "a whole number", "lastN")
    now = round(time.time() * 1000) + DAY_MS  # clocks of devices may be ahead
    if not relation and not is_needed and "timeAt" not in query:
        return Span(now - most, now, int(last_n))
    if relation not in ("before", "after", "between") or "timeAt" not in query:
        raise Problem(400, "timerel is before, after or between, and timeAt goes with it", "timerel")
    at = to_ms(query["timeAt"], "timeAt")
    if relation == "before":
        return Span(at - most, at, int(last_n))
    if relation == "after":
        # The newest days, unless what was asked for is older.
        return Span(at + 1, min(at + most, now) if at < now else at + 1, int(last_n))
    if "endTimeAt" not in query:
        raise Problem(400, "between has an end too", "endTimeAt")
    end = to_ms(query["endTimeAt"], "endTimeAt")
    if end < at:
        raise Problem(400, "the end is before the begin", "endTimeAt")
    if end - at > most:
        raise Problem(400, f"more than {history_days} days: ask for parts of them", "endTimeAt")
    return Span(at, end, int(last_n))


def page(asked: Span, limit: int | None, history_days: int, default: int) -> int:
    """How many entities an answer has. Raises Problem 403: more than the span allows."""
    most = min(_MAX_ENTITIES, max(1, _ENTITY_SPANS * history_days // asked.days))
    if limit is None:
        return min(default, most)
    if limit > most:
        raise Problem(403, f"at most {most} entities over {asked.days} days in one answer", "limit", "TooManyResults")
    return limit


async def values(
    store: Store, request: web.Request, model: Model, devices: Sequence[int], attrs: tuple[str, ...], asked: Span
) -> tuple[dict[tuple[int, str], list[Row]], int | None]:
    """Rows by device and attribute, the newest first, and the time at which they end early or None."""
    measured = [one for one in model.measured if not attrs or one.name in attrs]
    names = metrics_of(measured)
    if not devices or not names or asked.start >= asked.end:
        return {}, None
    quoted = ", ".join(f"'{name}'" for name in names)
    known = {
        int(row["metric_num"]): str(row["metric"])
        for row in await store.rows(
            request, f"SELECT metric_num, metric FROM cityfleet.metrics FINAL WHERE metric IN ({quoted})", {}
        )
    }
    by = "LIMIT {last_n:UInt32} BY device_num, metric_num" if asked.last_n else ""
    direction = "DESC" if asked.last_n else "ASC"
    rows = await store.rows(
        request,
        f"{_VALUES} ORDER BY ms {direction} {by} LIMIT {{most:UInt32}}",
        {
            "devices": f"[{','.join(map(str, devices))}]",
            "metrics": f"[{','.join(map(str, known))}]",
            "from_ms": asked.start,
            "to_ms": asked.end,
            "most": MAX_VALUES + 1,
            **({"last_n": asked.last_n} if asked.last_n else {}),
        },
    )
    cut = None
    if len(rows) > MAX_VALUES:
        # The first that did not fit: its moment is left to the next answer, for every series.
        cut = int(rows[-1]["ms"])
        rows = [row for row in rows if int(row["ms"]) != cut]
    attribute = {metric: (one.name, divisor) for one in measured for metric, divisor in one.metrics.items()}
    found: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        name, divisor = attribute[known[int(row["metric_num"])]]
        found.setdefault((int(row["device_num"]), name), []).append({**row, "value": row["value"] / divisor})
    return found, cut


def entity(model: Model, device_id: str, series: Mapping[str, list[Row]], is_simple: bool) -> Entity:
    made: Entity = {"id": entity_id(model, device_id), "type": model.name}
    for one in model.measured:
        if rows := series.get(one.name):
            if is_simple:
                made[one.name] = {
                    "type": "Property",
                    "values": [[row["value"], to_text(int(row["ms"]))] for row in rows],
                }
            else:
                made[one.name] = [prop(row["value"], one.unit, int(row["ms"]), int(row["quality"])) for row in rows]
    return made


def content_range(asked: Span, cut: int) -> str:
    """What an early end covers, in the direction of the values: the part that is whole."""
    first, last = (asked.end, cut) if asked.last_n else (asked.start, cut)
    return f"date-time {to_text(first)}-{to_text(last)}/*"
