"""Entities as they look: normalized (each attribute with its type and what goes with it) or simplified (values)."""

from typing import Any

from share.asking import Row
from share.ngsi.models import CONTROLLED, DEVICE, URN, Model
from share.times import to_text

Entity = dict[str, Any]
CORE = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.6.jsonld"


def entity_id(model: Model, device_id: str) -> str:
    return f"{URN}{model.name}:{device_id}"


def prop(value: Any, unit: str = "", ms: int | None = None, quality: int | None = None) -> Entity:
    made: Entity = {"type": "Property", "value": value}
    if unit:
        made["unitCode"] = unit
    if ms is not None:
        made["observedAt"] = to_text(ms)
    if quality is not None:
        made["quality"] = {"type": "Property", "value": quality}
    return made


def moment(ms: int) -> Entity:
    return prop({"@type": "DateTime", "@value": to_text(ms)})


def relation(urn: str) -> Entity:
    return {"type": "Relationship", "object": urn}


def values(model: Model, newest: dict[str, Row]) -> tuple[Entity, int | None]:
    """The measured attributes, and the time of the newest of them."""
    made: Entity = {}
    last: int | None = None
    for one in model.measured:
        for metric, divisor in one.metrics.items():
            if one.name not in made and (row := newest.get(metric)):
                ms = int(row["ms"])
                made[one.name] = prop(row["value"] / divisor, one.unit, ms, int(row["quality"]))
                last = ms if last is None else max(last, ms)
    return made, last


def place(row: Row) -> Entity:
    """What every type has: name, ward, place."""
    made: Entity = {"name": prop(row["display_name"] or row["device_id"])}
    if row["latitude"] is not None and row["longitude"] is not None:
        point = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
        made["location"] = {"type": "GeoProperty", "value": point}
    if row["ward_name"]:
        made["areaServed"] = prop(row["ward_name"])
    if row["ward_code"]:
        made["wardCode"] = prop(row["ward_code"])
    return made


def observed(model: Model, row: Row, newest: dict[str, Row], levels: dict[int, float]) -> Entity:
    """An entity of a type that observes. `levels`: of alarm, of the station that a gauge of a river stands at."""
    made, last = values(model, newest)
    whole: Entity = {"id": entity_id(model, row["device_id"]), "type": model.name}
    if last is not None:
        whole[model.time] = moment(last)
    whole |= {**place(row), **made, "refDevice": relation(entity_id(DEVICE, row["device_id"]))}
    labels = row["labels"]
    if model.name == "TrafficFlowObserved":
        segment = labels.get("segment") or row["site_id"] or row["device_id"]
        whole["refRoadSegment"] = relation(f"{URN}RoadSegment:{segment}")
    if model.name == "FloodMonitoring" and labels.get("station"):
        whole["stationID"] = prop(labels["station"])
        if levels and "currentLevel" in made and "water_level_m" in newest:
            whole |= _alarm(levels, made["currentLevel"]["value"])
    return whole


def _alarm(levels: dict[int, float], level: float) -> Entity:
    """The model has two thresholds; Vietnam has three levels, so all of them are an attribute of ours."""
    status = "Normal"
    if 1 in levels and level >= levels[1]:
        status = "Alert"
    if 3 in levels and level >= levels[3]:
        status = "Danger"
    made = {"floodLevelStatus": prop(status), "alarmLevels": prop([levels[key] for key in sorted(levels)], "MTR")}
    if 1 in levels:
        made["alertLevel"] = prop(levels[1], "MTR")
    if 3 in levels:
        made["dangerLevel"] = prop(levels[3], "MTR")
    return made


def device(row: Row, newest: dict[str, Row], last: int | None, kind: Row | None) -> Entity:
    made, _ = values(DEVICE, newest)
    metrics = kind["metrics"] if kind else []
    if "battery_pct" in metrics and "batteryLevel" not in made:
        made["batteryLevel"] = prop(-1)  # the model's word for "not known now"
    sensed = sorted({CONTROLLED[metric] for metric in metrics if metric in CONTROLLED})
    whole: Entity = {
        "id": entity_id(DEVICE, row["device_id"]),
        "type": DEVICE.name,
        **place(row),
        "deviceCategory": prop(["network" if kind and kind["is_gateway"] else "sensor"]),
        "controlledProperty": prop(sensed),
        "deviceState": prop(row["state"]),
        **made,
    }
    if last is not None:
        whole[DEVICE.time] = moment(last)
    for name, text in (
        ("hardwareVersion", row["hardware_revision"]),
        ("firmwareVersion", row["labels"].get("firmware")),
        ("dateLastCalibration", row["labels"].get("calibrated")),
    ):
        if text:
            whole[name] = prop(text)
    if row["gateway_id"]:
        whole["gateway"] = relation(entity_id(DEVICE, row["gateway_id"]))
    return whole


def shown(entity: Entity, attrs: tuple[str, ...], is_simple: bool, times: tuple[int, int] | None) -> Entity:
    """What was asked for of it. `times`: created and changed, in milliseconds, when these are asked for."""
    made: Entity = {}
    for name, value in entity.items():
        if name in ("id", "type"):
            made[name] = value
        elif not attrs or name in attrs:
            made[name] = simplified(value) if is_simple else value
    if times:
        made |= {"createdAt": to_text(times[0]), "modifiedAt": to_text(times[1])}
    return made


def simplified(attribute: Entity) -> Any:
    if attribute["type"] == "Relationship":
        return attribute["object"]
    value = attribute["value"]
    return value["@value"] if isinstance(value, dict) and "@value" in value else value
