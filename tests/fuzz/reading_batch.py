"""Fuzzing ReadingBatch: any bytes give the rows and the quarantine that the protobuf runtime and the twin give."""

from cityfleet.telemetry.v1 import telemetry_pb2
from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import NOW_MS, make_index


def _batch(**columns: object) -> bytes:
    return telemetry_pb2.ReadingBatch(base_time_ms=NOW_MS, **columns).SerializeToString()  # type: ignore[arg-type]


CORPUS = [
    _batch(metrics=["rain_mm"], value=[1.5]),
    _batch(
        devices=["wl-1", "tc-1", "wl-2"],
        metrics=["rain_mm", "vehicle_count"],
        device_index=[0, 1, 2],
        metric_index=[0, 1, 0],
        time_delta_ms=[-5, 10, 1 << 40],
        value=[1, 2, float("nan")],
    ),
    _batch(metrics=["water_level_m"], units=["cm"], time_delta_ms=[1000] * 20, value=range(20)),
    _batch(devices=["wl-1"], metrics=["rain_mm"], device_index=[0], metric_index=[0], time_delta_ms=[3], value=[1, 2]),
    b"\x08\x02\x1a\x07rain_mm\x41" + bytes(8) + b"\x30\x00\x38\x01\x0b\x08\x01\x0c",
]
_PIPELINE = Pipeline(make_index())


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    messages = [Message(data, "gw-1", "gateway", "batch")]
    found, wanted = _PIPELINE.outcome(messages), expected(messages)
    assert repr(found) == repr(wanted)
