"""ReadingBatch by the protobuf runtime: the plain twin of ext/telemetry/batch.pyx."""

import math
from collections.abc import Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from cityfleet.telemetry.v1 import telemetry_pb2
from tests.support.senml_twin import MalformedError, Reading, Text

T = TypeVar("T")


def spread(column: Sequence[T], count: int, zero: T) -> list[T]:
    if len(column) not in {0, 1, count}:
        raise MalformedError("column length")
    if len(column) == count:
        return list(column)
    return [column[0] if column else zero] * count


def decode(payload: bytes) -> list[Reading]:
    """Raises: MalformedError."""
    try:
        batch = telemetry_pb2.ReadingBatch.FromString(payload)
    except DecodeError as exc:
        raise MalformedError(str(exc)) from exc
    count = len(batch.value)
    if not (count or batch.texts) or not batch.metrics or len(batch.units) not in {0, len(batch.metrics)}:
        raise MalformedError("no values, no metrics, or units of another length")
    devices = spread(batch.device_index, count, 0)
    metrics = spread(batch.metric_index, count, 0)
    spread(batch.time_delta_ms, count, 0)
    if any(index >= max(len(batch.devices), 1) for index in devices) or any(m >= len(batch.metrics) for m in metrics):
        raise MalformedError("index")
    units = list(batch.units) or [""] * len(batch.metrics)
    readings: list[Reading] = []
    when = batch.base_time_ms
    for at, value in enumerate(batch.value):
        if len(batch.time_delta_ms) > 1 or (len(batch.time_delta_ms) == 1 and at == 0):
            when += batch.time_delta_ms[at]
        if not -(2**63) <= when < 2**63:
            raise MalformedError("time")
        device = batch.devices[devices[at]] if batch.devices else None
        reason = "" if math.isfinite(value) else "value_not_finite"
        readings.append((device, batch.metrics[metrics[at]], units[metrics[at]], when, value, reason))
    return readings + [text_reading(batch, text) for text in batch.texts]


def text_reading(batch: telemetry_pb2.ReadingBatch, text: telemetry_pb2.TextReading) -> Reading:
    kind = text.WhichOneof("value")
    if kind is None or text.device_index >= max(len(batch.devices), 1) or text.metric_index >= len(batch.metrics):
        raise MalformedError("value or index")
    when = batch.base_time_ms + text.time_delta_ms
    if not -(2**63) <= when < 2**63:
        raise MalformedError("time")
    value = {
        "text": Text("string", text.text.encode()),
        "boolean": Text("boolean", b"true" if text.boolean else b"false"),
        "data": Text("data", text.data),
    }[kind]
    device = batch.devices[text.device_index] if batch.devices else None
    return device, batch.metrics[text.metric_index], "", when, value, ""
