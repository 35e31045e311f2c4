"""Fuzzing ReadingBatch: any bytes give the rows and the quarantine that the protobuf runtime gives."""

from cityfleet.telemetry.v1.telemetry_pb2 import ReadingBatch, TextReading
from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import NOW_MS, make_index

CORPUS = [
    batch.SerializeToString()
    for batch in (
        ReadingBatch(
            base_time_ms=NOW_MS,
            devices=["wl-1", "gw-1", "tc-1"],
            metrics=["rain_mm", "temperature_cel"],
            units=["cm", "K"],
            device_index=[0, 1, 0, 2],
            metric_index=[0, 1, 1, 0],
            time_delta_ms=[-1, 2, 300, 0],
            value=[1.5, 290.0, -0.0, float("nan")],
        ),
        ReadingBatch(base_time_ms=NOW_MS, metrics=["temperature_cel"], time_delta_ms=[60_000] * 20, value=range(20)),
        ReadingBatch(
            base_time_ms=NOW_MS,
            devices=["wl-1"],
            metrics=["rain_mm"],
            texts=[
                TextReading(text="mưa", time_delta_ms=-5),
                TextReading(boolean=True),
                TextReading(data=b"\x00\xff"),
            ],
        ),
    )
]
_PIPELINE = Pipeline(make_index())


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the extension and the twin do not agree."""
    messages = [Message(data, "gw-1", "gateway", "batch")]
    found, wanted = _PIPELINE.outcome(messages), expected(messages)
    assert repr(found) == repr(wanted)
