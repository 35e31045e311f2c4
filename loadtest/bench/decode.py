"""CPU per reading of decode, resolve and seal, beside json and the protobuf runtime with lists of Python rows.

`python -m loadtest.bench.decode` prints a table, then one line of JSON. Median of five rounds; the baseline runs
between them, in the same process.
"""

import json
import random
import statistics
import struct
import time
from collections.abc import Callable
from typing import Any

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.clickhouse.quarantine_block import QuarantineBlock
from ext.clickhouse.readings_block import ReadingsBlock
from ext.clickhouse.text_block import TextBlock
from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, SCOPES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.resolve import resolve_readings

ROUNDS = 5
DEVICES = 20_000
CHUNK_FRAMES = 2_000
PER_BATCH = 100
_NOW_MS = 1_700_000_000_000
_EARLIEST_MS = 946_684_800_000
_AHEAD_MS = 86_400_000

# sender and payload
Message = tuple[str, bytes]


def make_index() -> DeviceIndex:
    """Gateways with 100 gauges each, over 126 wards."""
    index = DeviceIndex()
    index.put_metric(1, "water_level_m", "m")
    index.put_unit(1, "cm", 0.01, 0.0)
    index.put_type(1, "gauge", False, "senml-json", [(1, -2.0, 20.0)])
    index.put_type(2, "gateway", True, "batch", [])
    for number in range(DEVICES):
        gateway = number // PER_BATCH
        if number % PER_BATCH == 0:
            index.put_device(1_000_000 + gateway, f"gw-bts-{gateway:05}", 2, "00070", 0, [], True)
        index.put_device(number + 1, f"wl-{number:06}", 1, f"{number % 126:05}", 1_000_000 + gateway, [], True)
    return index


def single_payloads() -> list[Message]:
    """One reading each, of about 90 bytes; the devices in no order."""
    payloads = []
    for number in range(DEVICES):
        record = {"bn": f"wl-{number:06}:", "n": "water_level_m", "u": "cm", "v": number / 7}
        payload = json.dumps([record | {"t": 1_699_900_000 + number % 90_000}]).encode()
        payloads.append((f"wl-{number:06}", payload))
    random.Random(1).shuffle(payloads)
    return payloads


def cbor_payloads() -> list[Message]:
    """The same readings as `single_payloads`, with the labels of RFC 8428 section 6; of about 50 bytes."""
    labels = {"bn": -2, "n": 0, "u": 1, "v": 2, "t": 6}
    return [
        (sender, _cbor([{labels[label]: value for label, value in json.loads(payload)[0].items()}]))
        for sender, payload in single_payloads()
    ]


def _cbor(item: Any) -> bytes:
    """As small an encoder as these payloads need (RFC 8949), so that the bench runs without a test dependency."""
    if isinstance(item, float):
        return b"\xfb" + struct.pack(">d", item)
    if isinstance(item, int):
        return _head(0, item) if item >= 0 else _head(1, -1 - item)
    if isinstance(item, str):
        return _head(3, len(item)) + item.encode()
    if isinstance(item, list):
        return _head(4, len(item)) + b"".join(map(_cbor, item))
    return _head(5, len(item)) + b"".join(_cbor(key) + _cbor(value) for key, value in item.items())


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    info, size = next((info, size) for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)) if value < 1 << 8 * size)
    return bytes([major << 5 | info]) + value.to_bytes(size)


def batch_payloads() -> list[Message]:
    """One sample of each of a gateway's 100 gauges, as the proto suggests."""
    payloads = []
    for gateway in range(DEVICES // PER_BATCH):
        batch = telemetry_pb2.ReadingBatch(
            base_time_ms=_NOW_MS - 1000,
            devices=[f"wl-{gateway * PER_BATCH + number:06}" for number in range(PER_BATCH)],
            metrics=["water_level_m"],
            units=["cm"],
            device_index=range(PER_BATCH),
            metric_index=[0],
            time_delta_ms=[number % 7 for number in range(PER_BATCH)],
            value=[number / 7 for number in range(PER_BATCH)],
        )
        payloads.append((f"gw-bts-{gateway:05}", batch.SerializeToString()))
    return payloads


def series_payloads() -> list[Message]:
    """100 samples of one gauge, 10 s apart."""
    batch = telemetry_pb2.ReadingBatch(
        base_time_ms=_NOW_MS - 1_000_000,
        metrics=["water_level_m"],
        time_delta_ms=[10_000] * PER_BATCH,
        value=[number / 7 for number in range(PER_BATCH)],
    )
    return [(f"wl-{number:06}", batch.SerializeToString()) for number in range(0, DEVICES, PER_BATCH)]


def make_chunks(index: DeviceIndex, messages: list[Message], encoding: str) -> list[FrameChunk]:
    chunks = []
    for at in range(0, len(messages), CHUNK_FRAMES):
        chunk = FrameChunk("mqtt")
        for sender, payload in messages[at : at + CHUNK_FRAMES]:
            chunk.add(
                b"cf/v1/g/x/telemetry",
                payload,
                sender=index.find_device(sender),
                encoding=ENCODING_NAMES[encoding],
                scope=SCOPES["gateway"],
                received_ms=_NOW_MS,
            )
        chunks.append(chunk)
    return chunks


class Stages:
    """Decode, resolve and seal, and what each has used so far in nanoseconds of CPU."""

    def __init__(self, index: DeviceIndex) -> None:
        self.index = index
        self.batches = BatchDecoder()
        self.readings = Readings()
        self.block = ReadingsBlock()
        self.texts = TextBlock()
        self.quarantine = QuarantineBlock()
        self.counters = StageCounters()

    def run(self, chunks: list[FrameChunk], times: int) -> dict[str, float]:
        """CPU-ns per reading by stage. Raises RuntimeError if a reading was refused."""
        spent = {"decode": 0, "resolve": 0, "seal": 0}
        rows = 0
        for _ in range(times):
            for chunk in chunks:
                start = time.process_time_ns()
                decode_chunk(chunk, self.index, self.batches, self.readings, self.counters)
                decoded = time.process_time_ns()
                resolve_readings(
                    self.readings,
                    self.index,
                    _EARLIEST_MS,
                    _AHEAD_MS,
                    self.block,
                    self.texts,
                    self.quarantine,
                    self.counters,
                )
                resolved = time.process_time_ns()
                rows += len(self.block)
                self.block.seal()
                spent["decode"] += decoded - start
                spent["resolve"] += resolved - decoded
                spent["seal"] += time.process_time_ns() - resolved
        if self.counters.refused:
            raise RuntimeError(f"refused: {self.counters.refused}")
        return {stage: used / rows for stage, used in spent.items()} | {"all": sum(spent.values()) / rows}


def json_baseline(index: DeviceIndex, payloads: list[bytes]) -> tuple[float, int]:
    """What one writes without thinking: json.loads, dicts, a list of row tuples."""
    devices = {f"wl-{number:06}": (number + 1, f"{number % 126:05}") for number in range(DEVICES)}
    metrics = {"water_level_m": (1, {"m": 1.0, "cm": 0.01}, -2.0, 20.0)}
    rows: list[tuple[Any, ...]] = []
    start = time.process_time_ns()
    for payload in payloads:
        name, unit = "", ""
        for record in json.loads(payload):
            name = record.get("bn", name)
            unit = record.get("bu", unit)
            device, _, metric = (name + record.get("n", "")).rpartition(":")
            device_num, ward = devices[device]
            metric_num, units, low, high = metrics[metric]
            value = record["v"] * units[record.get("u", unit)]
            when = int(record["t"] * 1000)
            if not _EARLIEST_MS <= when <= _NOW_MS + _AHEAD_MS:
                continue
            rows.append((device_num, metric_num, when, value, 1 if low <= value <= high else 4, 0, ward, _NOW_MS))
    return time.process_time_ns() - start, len(rows)


def protobuf_baseline(index: DeviceIndex, payloads: list[bytes]) -> tuple[float, int]:
    """The protobuf runtime (upb, in C) and a list of row tuples."""
    devices = {f"wl-{number:06}": (number + 1, f"{number % 126:05}") for number in range(DEVICES)}
    devices[""] = devices["wl-000000"]
    metrics = {"water_level_m": (1, {"": 1.0, "m": 1.0, "cm": 0.01}, -2.0, 20.0)}
    rows: list[tuple[Any, ...]] = []
    start = time.process_time_ns()
    for payload in payloads:
        batch = telemetry_pb2.ReadingBatch.FromString(payload)
        names, units, deltas = list(batch.devices) or [""], list(batch.units) or [""], list(batch.time_delta_ms)
        metric_num, scales, low, high = metrics[batch.metrics[0]]
        when = batch.base_time_ms
        indices = list(batch.device_index) or [0] * len(batch.value)
        for place, delta, raw in zip(indices, deltas, batch.value, strict=True):
            device_num, ward = devices[names[place]]
            value = raw * scales[units[0]]
            when += delta
            rows.append((device_num, metric_num, when, value, 1 if low <= value <= high else 4, 0, ward, _NOW_MS))
    return time.process_time_ns() - start, len(rows)


Baseline = Callable[[DeviceIndex, list[bytes]], tuple[float, int]]


def measure() -> dict[str, dict[str, float]]:
    """CPU-ns per reading by kind of payload: each stage, all, baseline, their ratio."""
    index = make_index()
    kinds: tuple[tuple[str, list[Message], str, int, Baseline], ...] = (
        ("senml_single", single_payloads(), "senml-json", 5, json_baseline),
        ("batch_100_devices", batch_payloads(), "batch", 20, protobuf_baseline),
        ("batch_100_samples", series_payloads(), "batch", 20, protobuf_baseline),
    )
    found = {}
    for name, messages, encoding, times, baseline in kinds:
        chunks = make_chunks(index, messages, encoding)
        payloads = [payload for _, payload in messages]
        stages = Stages(index)
        stages.run(chunks, 1)
        rounds = []
        for _ in range(ROUNDS):
            figures = stages.run(chunks, times)
            used, rows = baseline(index, payloads)
            rounds.append(figures | {"baseline": used / rows})
        medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        spread = (max(one["all"] for one in rounds) - min(one["all"] for one in rounds)) / medians["all"]
        size = statistics.mean(map(len, payloads))
        found[name] = medians | {"ratio": medians["baseline"] / medians["all"], "spread": spread, "bytes": size}
    return found


def main() -> None:
    found = measure()
    print("CPU-ns per reading, median of", ROUNDS)
    columns = ("bytes", "decode", "resolve", "seal", "all", "baseline", "ratio", "spread")
    print(f"{'':20}" + "".join(f"{column:>10}" for column in columns))
    for name, figures in found.items():
        print(f"{name:20}" + "".join(f"{figures[column]:>10.2f}" for column in columns))
    print(json.dumps({"bench": "decode", "unit": "cpu_ns_per_reading", "rounds": ROUNDS, **found}))


if __name__ == "__main__":
    main()
