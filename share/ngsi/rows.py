"""What the store is asked for entities: which devices, their facts, and their newest values.

Readings that failed or are missing (quality 4 and 9) are not values: an entity has none from them.
Names of metrics and columns are ours; what a client sent is bound.
"""

import math
from collections.abc import Iterable, Sequence

from aiohttp import web

from share.asking import Row, Store
from share.ngsi.asked import Area, Asked, Term, comparable
from share.ngsi.models import DEVICE, FACTS_OF, MODELS_BY_NAME, Measured, Model, attributes
from share.problem import Problem
from share.times import to_ms

Values = dict[str, str | int | float]
_FACTS = """
SELECT
    d.device_num AS device_num, d.device_id AS device_id, d.display_name AS display_name,
    d.device_type AS device_type, d.state AS state, d.ward_code AS ward_code, w.name AS ward_name,
    d.site_id AS site_id, d.gateway_id AS gateway_id, d.hardware_revision AS hardware_revision,
    d.latitude AS latitude, d.longitude AS longitude, d.labels AS labels,
    toUnixTimestamp64Milli(d.create_time) AS created_ms, toUnixTimestamp64Milli(d.update_time) AS updated_ms
FROM (SELECT * FROM cityfleet.devices FINAL WHERE device_num IN {devices:Array(UInt32)}) AS d
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = d.ward_code
ORDER BY device_num"""
_THRESHOLDS = """
SELECT object AS station_id, level, argMax(low, valid_from) AS from_m
FROM cityfleet.thresholds FINAL
WHERE
    scheme = 'bao_dong' AND parameter = 'water_level_m' AND object IN {stations:Array(String)} AND isNotNull(low)
    AND toDate(now('Asia/Ho_Chi_Minh')) BETWEEN valid_from AND valid_to
GROUP BY object, level
ORDER BY object, level"""
_TYPES = """
SELECT device_type, any(is_gateway) AS is_gateway, groupArray(m.metric) AS metrics
FROM
(
    SELECT device_type, is_gateway, metric_num FROM (SELECT * FROM cityfleet.device_types FINAL)
    LEFT ARRAY JOIN metric_nums AS metric_num
) AS t
LEFT JOIN (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS m ON m.metric_num = t.metric_num
GROUP BY device_type"""


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _newest(metrics: Iterable[str], more: str = "") -> str:
    """The newest values of the metrics as device_num, metric, ms, value, quality. `more`: a condition on device_num."""
    where = f"metric_num IN (SELECT metric_num FROM cityfleet.metrics FINAL WHERE metric IN ({_quoted(metrics)})){more}"
    return f"""(
    SELECT
        r.device_num AS device_num, m.metric AS metric, toUnixTimestamp64Milli(r.ts) AS ms, r.value AS value,
        if(q.quality = 0, r.quality, q.quality) AS quality
    FROM (SELECT device_num, metric_num, ts, value, quality FROM cityfleet.latest FINAL WHERE {where}) AS r
    LEFT JOIN
    (
        SELECT device_num, metric_num, ts, quality FROM cityfleet.quality_latest FINAL WHERE {where}
    ) AS q ON q.device_num = r.device_num AND q.metric_num = r.metric_num AND q.ts = r.ts
    INNER JOIN (SELECT metric_num, metric FROM cityfleet.metrics FINAL) AS m ON m.metric_num = r.metric_num
    WHERE quality NOT IN (4, 9)
)"""


def metrics_of(measured: Iterable[Measured]) -> list[str]:
    return [metric for one in measured for metric in one.metrics]


def conditions(model: Model, asked: Asked, values: Values) -> str:
    """Which devices are such entities, as a condition on cityfleet.devices. Raises Problem 400."""
    where = ["state != 'deleted'"]
    has_value = model is DEVICE
    # Of which devices the newest values are looked at: not of all the city's where few are asked for.
    among = " AND device_num > {after:Int64}" if "after" in values else ""
    if asked.ids is not None:
        values["ids"] = f"[{_quoted(asked.ids[model.name])}]"
        where.append("device_id IN {ids:Array(String)}")
        among = " AND device_num IN (SELECT device_num FROM cityfleet.devices WHERE device_id IN {ids:Array(String)})"
    measured = [one for one in model.measured if one.name in asked.attrs]
    if asked.attrs and measured and not set(asked.attrs) & {*FACTS_OF[model.name], model.time}:
        where.append(f"device_num IN (SELECT device_num FROM {_newest(metrics_of(measured), among)})")
        has_value = True
    for number, term in enumerate(asked.terms):
        where.append(_compared(model, term, f"q{number}_", values, among))
        has_value |= model.named(term.attribute) is not None
    if not has_value:
        where.append(f"device_num IN (SELECT device_num FROM {_newest(metrics_of(model.measured), among)})")
    if asked.area:
        where.append(_within(asked.area, values))
    return " AND ".join(where)


def _compared(model: Model, term: Term, prefix: str, values: Values, among: str) -> str:
    """`among`: a condition on the devices whose newest values are compared."""
    sql_op = {"==": "=", "": "!="}.get(term.op, term.op)
    joint = " AND " if term.op == "!=" else " OR "
    if measured := model.named(term.attribute):
        parts = []
        for number, text in enumerate(term.values):
            values[f"{prefix}{number}"] = _number(text, term.attribute)
            parts.append(f"{sql_op} {{{prefix}{number}:Float64}}")
        tests = []
        for metric, divisor in measured.metrics.items():
            value = "value" if divisor == 1 else f"value / {divisor:g}"
            compared = joint.join(f"{value} {part}" for part in parts)
            tests.append(f"(metric = '{metric}'{f' AND ({compared})' if compared else ''})")
        return f"device_num IN (SELECT device_num FROM {_newest(measured.metrics, among)} WHERE {' OR '.join(tests)})"
    if term.attribute == model.time:
        metrics = metrics_of(model.measured)
        if not term.op:
            return f"device_num IN (SELECT device_num FROM {_newest(metrics, among)})"
        parts = []
        for number, text in enumerate(term.values):
            values[f"{prefix}{number}"] = to_ms(text, "q")
            parts.append(f"max(ms) {sql_op} {{{prefix}{number}:Int64}}")
        newest = f"cityfleet.latest WHERE 1{among}" if model is DEVICE else _newest(metrics, among)
        ms = "toUnixTimestamp64Milli(ts) AS ms" if model is DEVICE else "ms"
        return (
            f"device_num IN (SELECT device_num FROM (SELECT device_num, {ms} FROM {newest}) GROUP BY device_num "
            f"HAVING {joint.join(parts)})"
        )
    column = FACTS_OF[model.name][term.attribute]
    if not column:
        raise Problem(400, f"{term.attribute}: {model.name} is compared by {', '.join(comparable(model))}", "q")
    parts = []
    for number, text in enumerate(term.values or ("",)):
        values[f"{prefix}{number}"] = text
        parts.append(f"{column} {sql_op} {{{prefix}{number}:String}}")
    return f"({joint.join(parts)})"


def _number(text: str, attribute: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Problem(400, f"{attribute} is a number, not {text[:40]!r}", "q")
    return number


def _within(area: Area, values: Values) -> str:
    if area.metres or len(area.points) == 1:
        (values["x"], values["y"]), values["metres"] = area.points[0], area.metres
        op = ">=" if area.is_beyond else "<="
        # A device of no place is neither near nor far.
        return f"greatCircleDistance(longitude, latitude, {{x:Float64}}, {{y:Float64}}) {op} {{metres:Float64}}"
    values["ring"] = f"[{','.join(f'({x!r},{y!r})' for x, y in area.points)}]"
    return (
        "isNotNull(latitude) AND isNotNull(longitude) AND pointInPolygon((assumeNotNull(longitude), "
        "assumeNotNull(latitude)), {ring:Array(Tuple(Float64, Float64))})"
    )


async def count(store: Store, request: web.Request, model: Model, asked: Asked) -> int:
    values: Values = {}
    where = conditions(model, asked, values)
    rows = await store.rows(request, f"SELECT count() AS n FROM cityfleet.devices FINAL WHERE {where}", values)
    return int(rows[0]["n"])


async def numbers(
    store: Store, request: web.Request, model: Model, asked: Asked, after: int, limit: int, offset: int
) -> list[int]:
    """Numbers of the devices of a page, those behind `after`."""
    values: Values = {"after": after, "limit": limit, "offset": offset}
    where = conditions(model, asked, values)
    sql = (
        f"SELECT device_num FROM cityfleet.devices FINAL WHERE {where} AND device_num > {{after:Int64}} "
        "ORDER BY device_num LIMIT {limit:UInt32} OFFSET {offset:UInt32}"
    )
    return [int(row["device_num"]) for row in await store.rows(request, sql, values)]


async def facts(store: Store, request: web.Request, devices: Sequence[int]) -> list[Row]:
    """In the order of their numbers; labels and times among them."""
    return await store.rows(request, _FACTS, {"devices": _array(devices)}) if devices else []


async def ids(store: Store, request: web.Request, devices: Sequence[int]) -> dict[int, str]:
    sql = "SELECT device_num, device_id FROM cityfleet.devices FINAL WHERE device_num IN {devices:Array(UInt32)}"
    rows = await store.rows(request, sql, {"devices": _array(devices)}) if devices else []
    return {int(row["device_num"]): str(row["device_id"]) for row in rows}


async def newest(store: Store, request: web.Request, model: Model, devices: Sequence[int]) -> dict[int, dict[str, Row]]:
    """The newest values by device and metric."""
    if not devices:
        return {}
    sql = f"SELECT * FROM {_newest(metrics_of(model.measured), ' AND device_num IN {devices:Array(UInt32)}')}"
    found: dict[int, dict[str, Row]] = {}
    for row in await store.rows(request, sql, {"devices": _array(devices)}):
        found.setdefault(int(row["device_num"]), {})[row["metric"]] = row
    return found


async def last_heard(store: Store, request: web.Request, devices: Sequence[int]) -> dict[int, int]:
    """Milliseconds of the newest reading of whatever metric and quality."""
    sql = (
        "SELECT device_num, toUnixTimestamp64Milli(max(ts)) AS ms FROM cityfleet.latest "
        "WHERE device_num IN {devices:Array(UInt32)} GROUP BY device_num"
    )
    rows = await store.rows(request, sql, {"devices": _array(devices)}) if devices else []
    return {int(row["device_num"]): int(row["ms"]) for row in rows}


async def kinds(store: Store, request: web.Request) -> dict[str, Row]:
    """is_gateway and metrics by device_type."""
    return {row["device_type"]: row for row in await store.rows(request, _TYPES, {})}


async def thresholds(store: Store, request: web.Request, stations: set[str]) -> dict[str, dict[int, float]]:
    """Levels of alarm that hold today, by station."""
    known = sorted(station for station in stations if station.isprintable() and not set(station) & set("\\'"))
    rows = await store.rows(request, _THRESHOLDS, {"stations": f"[{_quoted(known)}]"}) if known else []
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["station_id"], {})[int(row["level"])] = float(row["from_m"])
    return found


async def models_there(store: Store, request: web.Request) -> dict[str, list[str]]:
    """Attributes that are measured by the types of the caller's devices, by the name of the model."""
    sql = "SELECT DISTINCT device_type FROM cityfleet.devices FINAL WHERE state != 'deleted'"
    types = {row["device_type"] for row in await store.rows(request, sql, {})}
    known = await kinds(store, request)
    metrics = {metric for name in types if name in known for metric in known[name]["metrics"]}
    there: dict[str, list[str]] = {}
    for model in MODELS_BY_NAME.values():
        measured = {one.name for one in model.measured if set(one.metrics) & metrics}
        if measured or (model is DEVICE and types):
            all_measured = {one.name for one in model.measured}
            there[model.name] = [name for name in attributes(model) if name in measured or name not in all_measured]
    return there


def _array(devices: Sequence[int]) -> str:
    return f"[{','.join(map(str, devices))}]"
