"""The sets of entities: where their rows come from, what can be asked of them, how they look.

A Thing is a device, a Datastream a device and a metric, a Sensor a type of device, an ObservedProperty a metric.
Observations: observations.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from share.asking import Row

Entity = dict[str, Any]
MEASUREMENT = "http://www.opengis.net/def/observationType/OGC-OM/2.0/OM_Measurement"
_NUMBER, _TEXT = "Int64", "String"

_DEVICES = """(
    SELECT
        toUInt64(device_num) AS key, device_id, display_name, device_type, state, ward_code, site, site_id, gateway_id,
        hardware_revision, latitude, longitude, labels, expected_interval_s
    FROM cityfleet.devices FINAL
    WHERE state != 'deleted'
)"""
_PLACES = f"(SELECT * FROM {_DEVICES} WHERE latitude IS NOT NULL AND longitude IS NOT NULL)"
_TYPES = """(
    SELECT toUInt64(type_num) AS key, device_type, display_name, is_gateway, expected_interval_s
    FROM cityfleet.device_types FINAL
)"""
_METRICS = "(SELECT toUInt64(metric_num) AS key, metric, unit, description FROM cityfleet.metrics FINAL)"
_STREAMS = """(
    SELECT
        toUInt64(d.device_num) * 65536 + m.metric_num AS key, toUInt64(d.device_num) AS thing,
        toUInt64(t.type_num) AS sensor, toUInt64(m.metric_num) AS property, d.device_id AS device_id,
        d.ward_code AS ward_code, d.device_type AS device_type, m.metric AS metric, m.unit AS unit,
        m.description AS description, t.expected_interval_s AS expected_interval_s
    FROM
    (
        SELECT device_num, device_id, device_type, ward_code FROM cityfleet.devices FINAL WHERE state != 'deleted'
    ) AS d
    INNER JOIN
    (
        SELECT type_num, device_type, metric_num, if(interval_s > 0, interval_s, all_s) AS expected_interval_s
        FROM
        (
            SELECT type_num, device_type, metric_nums, metric_intervals_s, expected_interval_s AS all_s
            FROM cityfleet.device_types FINAL
        )
        ARRAY JOIN metric_nums AS metric_num, metric_intervals_s AS interval_s
    ) AS t ON t.device_type = d.device_type
    INNER JOIN (SELECT metric_num, metric, unit, description FROM cityfleet.metrics FINAL) AS m
        ON m.metric_num = t.metric_num
)"""


@dataclass(frozen=True)
class Field:
    """What $filter may compare: the column and its type in the store."""

    column: str
    type: str


@dataclass(frozen=True)
class Way:
    """A navigation property: rows of `target` whose column `there` is this row's column `here`."""

    target: str
    here: str
    there: str
    is_single: bool


@dataclass(frozen=True)
class EntitySet:
    name: str
    source: str
    fields: Mapping[str, Field]
    ways: Mapping[str, Way]
    make: Callable[[Row], Entity]


def _named(row: Row) -> Entity:
    return {"name": row["device_id"], "description": row["display_name"] or row["device_id"]}


def _thing(row: Row) -> Entity:
    kept = ("device_type", "state", "ward_code", "site", "site_id", "gateway_id", "hardware_revision")
    properties = {name: row[name] for name in (*kept, "expected_interval_s") if row[name]}
    return {**_named(row), "properties": {**properties, "labels": row["labels"]}}


def _point(row: Row) -> Entity:
    return {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}


def _location(row: Row) -> Entity:
    return {**_named(row), "encodingType": "application/geo+json", "location": _point(row)}


def _feature(row: Row) -> Entity:
    return {**_named(row), "encodingType": "application/geo+json", "feature": _point(row)}


def _stream(row: Row) -> Entity:
    return {
        "name": f"{row['device_id']}/{row['metric']}",
        "description": row["description"] or row["metric"],
        "observationType": MEASUREMENT,
        # The unit is UCUM's code.
        "unitOfMeasurement": {"name": row["unit"], "symbol": row["unit"], "definition": "https://ucum.org/ucum"},
        "properties": {
            "device_id": row["device_id"],
            "metric": row["metric"],
            "ward_code": row["ward_code"],
            "expected_interval_s": row["expected_interval_s"],
        },
    }


def _sensor(row: Row) -> Entity:
    return {
        "name": row["device_type"],
        "description": row["display_name"] or row["device_type"],
        "encodingType": "text/plain",
        "metadata": row["device_type"],
        "properties": {"is_gateway": bool(row["is_gateway"]), "expected_interval_s": row["expected_interval_s"]},
    }


def _property(row: Row) -> Entity:
    return {
        "name": row["metric"],
        "description": row["description"] or row["metric"],
        "definition": f"urn:cityfleet:metric:{row['metric']}",
        "properties": {"unit": row["unit"]},
    }


_ID = {"id": Field("key", _NUMBER), "@iot.id": Field("key", _NUMBER)}
_DEVICE_FIELDS = {
    **_ID,
    "name": Field("device_id", _TEXT),
    "properties/device_type": Field("device_type", _TEXT),
    "properties/state": Field("state", _TEXT),
    "properties/ward_code": Field("ward_code", _TEXT),
    "properties/site_id": Field("site_id", _TEXT),
}

SETS = {
    one.name: one
    for one in (
        EntitySet(
            "Things",
            _DEVICES,
            _DEVICE_FIELDS,
            {
                "Datastreams": Way("Datastreams", "key", "thing", False),
                "Locations": Way("Locations", "key", "key", False),
            },
            _thing,
        ),
        EntitySet("Locations", _PLACES, _DEVICE_FIELDS, {"Things": Way("Things", "key", "key", False)}, _location),
        EntitySet("FeaturesOfInterest", _PLACES, _DEVICE_FIELDS, {}, _feature),
        EntitySet(
            "Datastreams",
            _STREAMS,
            {
                **_ID,
                "Thing/id": Field("thing", _NUMBER),
                "Thing/name": Field("device_id", _TEXT),
                "Sensor/id": Field("sensor", _NUMBER),
                "ObservedProperty/id": Field("property", _NUMBER),
                "ObservedProperty/name": Field("metric", _TEXT),
                "properties/ward_code": Field("ward_code", _TEXT),
                "properties/metric": Field("metric", _TEXT),
                "properties/device_id": Field("device_id", _TEXT),
            },
            {
                "Thing": Way("Things", "thing", "key", True),
                "Sensor": Way("Sensors", "sensor", "key", True),
                "ObservedProperty": Way("ObservedProperties", "property", "key", True),
            },
            _stream,
        ),
        EntitySet(
            "Sensors",
            _TYPES,
            {**_ID, "name": Field("device_type", _TEXT)},
            {"Datastreams": Way("Datastreams", "key", "sensor", False)},
            _sensor,
        ),
        EntitySet(
            "ObservedProperties",
            _METRICS,
            {**_ID, "name": Field("metric", _TEXT)},
            {"Datastreams": Way("Datastreams", "key", "property", False)},
            _property,
        ),
    )
}
