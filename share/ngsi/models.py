"""Types of entities and their attributes by Smart Data Models, and which metrics they are.

An entity is a device seen as one type: `urn:ngsi-ld:TYPE:device_id`. What no model has a name for has one of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

URN = "urn:ngsi-ld:"
MODELS = "https://smartdatamodels.org/"
OWN = "urn:cityfleet:ngsi-ld:"


@dataclass(frozen=True, eq=False)
class Measured:
    """An attribute that is measured.

    `metrics`: what a reading of each is divided by; of several the first that the device has. 55 / 100 is 0.55,
    55 * 0.01 is not.
    `unit`: UN/CEFACT's code; empty: a pure number.
    """

    name: str
    unit: str
    metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Model:
    """`time`: the attribute with the time of the newest reading. `domain`: the collection that the model is in."""

    name: str
    domain: str
    time: str
    measured: tuple[Measured, ...]

    @property
    def iri(self) -> str:
        return f"{MODELS}dataModel.{self.domain}/{self.name}"

    def named(self, attribute: str) -> Measured | None:
        return next((one for one in self.measured if one.name == attribute), None)


def _ug_m3(name: str, metric: str) -> Measured:
    return Measured(name, "GQ", {metric: 1})


DEVICE = Model(
    "Device",
    "Device",
    "dateLastValueReported",
    (Measured("batteryLevel", "", {"battery_pct": 100}), Measured("rssi", "DBM", {"rssi_dbm": 1})),
)
MODELS_BY_NAME = {
    one.name: one
    for one in (
        Model(
            "AirQualityObserved",
            "Environment",
            "dateObserved",
            (
                _ug_m3("pm25", "pm2_5_ug_m3"),
                _ug_m3("pm10", "pm10_ug_m3"),
                _ug_m3("so2", "so2_ug_m3"),
                _ug_m3("no2", "no2_ug_m3"),
                _ug_m3("o3", "o3_ug_m3"),
                _ug_m3("co", "co_ug_m3"),
            ),
        ),
        DEVICE,
        Model(
            "FloodMonitoring",
            "Environment",
            "observationDateTime",
            (Measured("currentLevel", "MTR", {"water_level_m": 1, "street_flood_depth_mm": 1000}),),
        ),
        Model(
            "TrafficFlowObserved",
            "Transportation",
            "dateObserved",
            (
                Measured("intensity", "", {"vehicle_count": 1}),
                Measured("occupancy", "", {"occupancy_pct": 100}),
                Measured("averageVehicleSpeed", "KMH", {"speed_km_h": 1}),
            ),
        ),
        Model(
            "WeatherObserved",
            "Weather",
            "dateObserved",
            (
                Measured("temperature", "CEL", {"temperature_cel": 1}),
                Measured("relativeHumidity", "", {"humidity_pct": 100}),
                Measured("precipitation", "MMT", {"rain_mm": 1}),
                Measured("windSpeed", "MTS", {"wind_m_s": 1}),
            ),
        ),
    )
}

# What each of our other metrics is in Device's list of what can be sensed; those of no entry are left out of it.
CONTROLLED = {
    "water_level_m": "waterLevel",
    "street_flood_depth_mm": "waterLevel",
    "rain_mm": "precipitation",
    "temperature_cel": "temperature",
    "humidity_pct": "humidity",
    "wind_m_s": "windSpeed",
    "vehicle_count": "trafficFlow",
    "speed_km_h": "averageVelocity",
    "occupancy_pct": "occupancy",
    "battery_pct": "batteryLife",
    "tsp_ug_m3": "airPollution",
    **{metric: "airPollution" for one in MODELS_BY_NAME["AirQualityObserved"].measured for metric in one.metrics},
}

# Facts of every type by the column of cityfleet.devices that `q` compares; the empty ones cannot be compared.
FACTS = {
    "name": "if(display_name = '', device_id, display_name)",
    "wardCode": "ward_code",
    "areaServed": "",
    "location": "",
}
FACTS_OF = {
    "Device": {
        **FACTS,
        "deviceState": "state",
        "deviceCategory": "",
        "controlledProperty": "",
        "hardwareVersion": "hardware_revision",
        "firmwareVersion": "labels['firmware']",
        "dateLastCalibration": "",
        "gateway": f"concat('{URN}Device:', gateway_id)",
    },
    "FloodMonitoring": {
        **FACTS,
        "refDevice": f"concat('{URN}Device:', device_id)",
        "stationID": "labels['station']",
        "alertLevel": "",
        "dangerLevel": "",
        "floodLevelStatus": "",
        "alarmLevels": "",
    },
    "TrafficFlowObserved": {**FACTS, "refDevice": f"concat('{URN}Device:', device_id)", "refRoadSegment": ""},
    "AirQualityObserved": {**FACTS, "refDevice": f"concat('{URN}Device:', device_id)"},
    "WeatherObserved": {**FACTS, "refDevice": f"concat('{URN}Device:', device_id)"},
}
_RELATIONSHIPS = {"refDevice", "refRoadSegment", "gateway"}
# Not of the models: ward codes, the three levels of alarm, QARTOD's flag, and the gateway that speaks for a device.
_OURS = {"wardCode", "alarmLevels", "gateway", "quality"}


def attributes(model: Model) -> tuple[str, ...]:
    """Names of all that an entity of it may have, without id and type."""
    return (model.time, *(one.name for one in model.measured), *FACTS_OF[model.name])


def model_of(name: str) -> Model | None:
    """By its short name, or by what the context makes of it."""
    return MODELS_BY_NAME.get(name) or next((one for one in MODELS_BY_NAME.values() if one.iri == name), None)


def context() -> dict[str, object]:
    """The @context: what each name means. Names of NGSI-LD itself are the core context's, which goes behind ours."""
    terms: dict[str, object] = {}
    for model in MODELS_BY_NAME.values():
        terms[model.name] = model.iri
        for name in attributes(model):
            if name == "location":
                continue
            iri = f"{OWN}{name}" if name in _OURS else f"{MODELS}dataModel.{model.domain}/{name}"
            # Two models may share a name; what they share has one meaning.
            terms.setdefault(name, {"@id": iri, "@type": "@id"} if name in _RELATIONSHIPS else iri)
    for name in ("name", "areaServed", "dateObserved"):
        terms[name] = f"{MODELS}{name}"
    terms["quality"] = f"{OWN}quality"
    return {"@context": dict(sorted(terms.items()))}
