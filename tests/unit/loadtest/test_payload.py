"""What senders put into messages: SenML JSON and ReadingBatch say the same as the readings they were made of."""

import json
from itertools import accumulate

import pytest

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.payload import Encoding, Reading, encode, telemetry_topic


def unpack(payload: bytes, sender: str) -> list[Reading]:
    """A batch by the words of its proto file."""
    batch = telemetry_pb2.ReadingBatch.FromString(payload)
    count = len(batch.value)

    def column(values: list[int]) -> list[int]:
        return values * count if len(values) == 1 else values or [0] * count

    deltas = list(batch.time_delta_ms)
    times = list(accumulate(deltas)) if len(deltas) == count else column(deltas)
    return [
        Reading(
            batch.devices[device] if batch.devices else sender,
            batch.metrics[metric],
            batch.base_time_ms + delta,
            value,
            batch.units[metric] if batch.units else "",
        )
        for device, metric, delta, value in zip(
            column(list(batch.device_index)), column(list(batch.metric_index)), times, batch.value, strict=True
        )
    ]


@pytest.mark.parametrize(
    "readings",
    [
        [Reading("a", "rain_mm", 1_700_000_000_123, 0.1)],
        [Reading("a", "rain_mm", 1_700_000_000_000 + step * 60_000, step / 3) for step in range(50)],
        [Reading("a", "rain_mm", 1_700_000_000_000, 1.0), Reading("a", "battery_pct", 1_700_000_000_000, 2.0)],
        [Reading("b", "rain_mm", 5, 1.0), Reading("c", "rain_mm", 4, 2.0), Reading("a", "rain_mm", 4, -0.0)],
        [Reading("b", "speed_km_h", 5, 1.0, "[mi_i]/h"), Reading("b", "speed_km_h", 6, 1.0)],
    ],
)
def test_a_batch_says_what_the_readings_say(readings: list[Reading]) -> None:
    assert unpack(encode(readings, Encoding.BATCH, "a"), "a") == readings


def test_senml_keeps_value_time_and_unit_exactly() -> None:
    readings = [
        Reading("a", "rain_mm", 1_700_000_000_123, 0.1, "mm"),
        Reading("a", "rain_mm", 1_700_000_001_000, 1e-300),
    ]
    assert json.loads(encode(readings, Encoding.SENML_JSON, "a")) == [
        {"n": "rain_mm", "t": 1_700_000_000.123, "u": "mm", "v": 0.1},
        {"n": "rain_mm", "t": 1_700_000_001, "v": 1e-300},
    ]


def test_senml_names_the_device_only_behind_a_gateway() -> None:
    payload = encode([Reading("rain-1", "rain_mm", 1_700_000_000_000, 1.0)], Encoding.SENML_JSON, "gw-1")
    assert json.loads(payload)[0]["n"] == "rain-1:rain_mm"


def test_senml_cannot_tell_1970() -> None:
    with pytest.raises(ValueError, match="offset from now"):
        encode([Reading("a", "rain_mm", 1000, 1.0)], Encoding.SENML_JSON, "a")


def test_topics_have_no_wildcard_characters() -> None:
    for encoding in Encoding:
        assert not set("+#") & set(telemetry_topic("a", encoding))
    assert telemetry_topic("g", Encoding.BATCH, as_gateway=True) == "cf/v1/g/g/telemetry/batch"
