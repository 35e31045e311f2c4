"""A name is a metric of the catalogue, else what the device's type says payloads call one, in the unit it comes in."""

import json

import pytest

from registry.devices.decoder import Decoder, JsonMapping
from registry.devices.model import TypeSpec
from tests.support.declared import DEVICE, GATEWAY, UNITS, make_index, metrics, type_decoder
from tests.support.pipeline import Message, Pipeline

SPEC = TypeSpec("t", metrics=metrics(water_level_m="lvl cm", temperature_cel="rain_mm [degF]", battery_pct=""))
NUMBERS = {metric: num for num, metric in enumerate(UNITS, 1)}


def stored(index, *records, sender=DEVICE, scope="device"):
    """(device_num, metric_num, value) of the rows, and (reason, detail) of the quarantine."""
    pipeline = Pipeline(index)
    rows, quarantine = pipeline.run([Message(json.dumps(records).encode(), sender, scope)])[:2]
    return (
        [(row["device_num"], row["metric_num"], row["value"]) for row in rows],
        [(row["reason"], row["detail"].decode()) for row in quarantine],
    )


@pytest.mark.parametrize(
    ("record", "metric", "value"),
    [
        ({"n": "lvl", "v": 250}, "water_level_m", 2.5),
        ({"n": "lvl", "u": "mm", "v": 250}, "water_level_m", 0.25),
        ({"n": "water_level_m", "v": 250}, "water_level_m", 250.0),
        ({"n": "rain_mm", "v": 212}, "temperature_cel", 100.0),  # a metric of the catalogue, but not of the type
        ({"n": "battery_pct", "v": 3}, "battery_pct", 3.0),
    ],
)
def test_names(record, metric, value):
    assert stored(make_index(SPEC), record) == ([(1, NUMBERS[metric], value)], [])


def test_what_is_neither_is_unknown():
    index = make_index(SPEC)
    assert stored(index, {"n": "level", "v": 1}) == ([], [("unknown_metric", "metric level, reading 1")])
    assert stored(index, {"n": "lvl", "u": "V", "v": 1}) == ([], [("unknown_unit", "unit V of metric lvl, reading 1")])


def test_each_device_of_a_payload_has_the_sources_of_its_own_type():
    index = make_index(SPEC)
    other = TypeSpec("other", metrics=metrics(water_level_m="", battery_pct="lvl"))
    index.put_type(3, "other", False, "json", [(NUMBERS[entry.metric], None, None) for entry in other.metrics],
                   type_decoder(other))  # fmt: skip
    index.put_device(4, "other-1", 3, "", 2, [], True)
    records = [{"bn": f"{device}:", "n": "lvl", "v": 50} for device in (DEVICE, "other-1", DEVICE, "other-1")]
    rows, quarantine = stored(index, *records, sender=GATEWAY, scope="gateway")
    assert quarantine == []
    assert rows == [(1, NUMBERS["water_level_m"], 0.5), (4, NUMBERS["battery_pct"], 50.0)] * 2


def test_a_gateways_mapping_speaks_for_the_devices_behind_it():
    gateway = TypeSpec(
        "box",
        is_gateway=True,
        default_encoding="json",
        metrics=metrics(water_level_m="l mm", battery_pct="b"),
        decoder=Decoder(json=JsonMapping(records="nodes", device="id")),
    )
    index = make_index(SPEC)
    ranges = [(NUMBERS[entry.metric], None, None) for entry in gateway.metrics]
    index.put_type(2, "box", True, "json", ranges, type_decoder(gateway))
    nodes = [{"id": DEVICE, "l": 1500}, {"id": "70b3d57ed0051234", "b": 9}, {"id": "lora-2", "b": 8}, {"b": 7}]
    document = json.dumps({"nodes": nodes, "b": 6}).encode()
    rows, quarantine = Pipeline(index).run([Message(document, GATEWAY, "gateway", "json")])[:2]
    found = [(row["device_num"], row["metric_num"], row["value"]) for row in rows]
    level, battery = NUMBERS["water_level_m"], NUMBERS["battery_pct"]
    assert sorted(found) == [(1, level, 1.5), (1, battery, 9.0), (2, battery, 6.0), (2, battery, 7.0)]
    assert [row["reason"] for row in quarantine] == ["not_behind_gateway"]


def test_a_type_that_changes_its_mind_is_followed_at_once():
    index = make_index(SPEC)
    changed = TypeSpec("t", metrics=metrics(water_level_m="stage m"))
    index.put_type(1, "t", False, "senml-json", [(NUMBERS["water_level_m"], None, None)], type_decoder(changed))
    assert stored(index, {"n": "stage", "v": 2}) == ([(1, NUMBERS["water_level_m"], 2.0)], [])
    assert stored(index, {"n": "lvl", "v": 2})[1] == [("unknown_metric", "metric lvl, reading 1")]
