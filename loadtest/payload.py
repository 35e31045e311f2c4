"""Readings as devices send them: SenML JSON (RFC 8428) and the packed `ReadingBatch`."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from cityfleet.telemetry.v1 import telemetry_pb2

# RFC 8428 section 4.5.3: a time below this is an offset from now, so no clock before 1978-07-04 can be told in SenML.
SENML_ABSOLUTE_S = 2**28


class Encoding(StrEnum):
    SENML_JSON = "senml-json"
    BATCH = "batch"


class Reading(NamedTuple):
    """One measured value. `ts_ms`: milliseconds since 1970-01-01 UTC. `unit` empty: the metric's canonical unit."""

    device_id: str
    metric: str
    ts_ms: int
    value: float
    unit: str = ""


def telemetry_topic(sender: str, encoding: Encoding, *, as_gateway: bool = False) -> str:
    """The topic of `sender`'s readings. SenML goes without an encoding level: `+` is not allowed in a topic name."""
    base = f"cf/v1/{'g' if as_gateway else 'd'}/{sender}/telemetry"
    return f"{base}/batch" if encoding is Encoding.BATCH else base


def content_type(encoding: Encoding) -> str:
    """The MQTT 5 Content Type that names the encoding."""
    return "application/senml+json" if encoding is Encoding.SENML_JSON else "application/x-cityfleet-batch"


def encode(readings: Sequence[Reading], encoding: Encoding, sender: str) -> bytes:
    """Encode at least one reading. Devices are named in the payload only where they differ from `sender`.

    Raises: ValueError for a SenML time that RFC 8428 would read as relative.
    """
    return _senml(readings, sender) if encoding is Encoding.SENML_JSON else _batch(readings, sender)


def _senml(readings: Sequence[Reading], sender: str) -> bytes:
    records: list[dict[str, str | int | float]] = []
    for reading in readings:
        seconds, millis = divmod(reading.ts_ms, 1000)
        if seconds < SENML_ABSOLUTE_S:
            raise ValueError(f"SenML cannot tell the time {reading.ts_ms} ms: below 2^28 s it means an offset from now")
        name = reading.metric if reading.device_id == sender else f"{reading.device_id}:{reading.metric}"
        record: dict[str, str | int | float] = {"n": name, "t": seconds if not millis else reading.ts_ms / 1000}
        if reading.unit:
            record["u"] = reading.unit
        record["v"] = reading.value
        records.append(record)
    return msgspec.json.encode(records)


def _batch(readings: Sequence[Reading], sender: str) -> bytes:
    batch = telemetry_pb2.ReadingBatch(base_time_ms=readings[0].ts_ms)
    devices: dict[str, int] = {}
    metrics: dict[tuple[str, str], int] = {}
    previous_ms = readings[0].ts_ms
    device_index, metric_index, deltas = [], [], []
    for reading in readings:
        device_index.append(devices.setdefault(reading.device_id, len(devices)))
        metric_index.append(metrics.setdefault((reading.metric, reading.unit), len(metrics)))
        deltas.append(reading.ts_ms - previous_ms)
        previous_ms = reading.ts_ms
    batch.metrics.extend(metric for metric, _ in metrics)
    if any(unit for _, unit in metrics):
        batch.units.extend(unit for _, unit in metrics)
    if set(devices) != {sender}:
        batch.devices.extend(devices)
        batch.device_index.extend(device_index if len(devices) > 1 else [0])
    batch.metric_index.extend(metric_index if len(metrics) > 1 else [0])
    batch.time_delta_ms.extend(deltas if any(deltas) else [0])
    batch.value.extend(reading.value for reading in readings)
    return batch.SerializeToString()
