"""CPU per reading of decode, and of resolve, batch and Native block, beside what one writes without thinking.

`run(rounds)` gives the lines of the report, `python -m loadtest.bench.decode` prints a table, then those lines. The
baseline (json, cbor2 or the protobuf runtime; dicts; clickhouse-connect's own Native block from lists of rows) runs
between the rounds, in the same process.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.insert import InsertContext
from clickhouse_connect.driver.transform import NativeTransform

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
from loadtest.bench import payloads
from loadtest.bench.payloads import DEVICES, NOW_MS, Message

ROUNDS = 5
_EARLIEST_MS = 946_684_800_000
_AHEAD_MS = 86_400_000

# device, metric, unit, time in ms, value
Named = tuple[str, str, str, int, float]


class Kind(NamedTuple):
    """A kind of payload. `chunk_frames`: about what one transport gathers in 2 ms at full rate."""

    name: str
    id: str
    encoding: str
    messages: Callable[[], list[Message]]
    baseline: Callable[[bytes], list[Named]]
    chunk_frames: int
    times: int


def by_json(payload: bytes) -> list[Named]:
    found = []
    name, unit = "", ""
    for record in json.loads(payload):
        name, unit = record.get("bn", name), record.get("bu", unit)
        device, _, metric = (name + record.get("n", "")).rpartition(":")
        found.append((device, metric, record.get("u", unit), int(record["t"] * 1000), record["v"]))
    return found


def by_cbor2(payload: bytes) -> list[Named]:
    import cbor2  # of the development extra

    found = []
    name, unit = "", ""
    for record in cbor2.loads(payload):
        name, unit = record.get(-2, name), record.get(-4, unit)
        device, _, metric = (name + record.get(0, "")).rpartition(":")
        found.append((device, metric, record.get(1, unit), int(record[6] * 1000), record[2]))
    return found


def by_protobuf(payload: bytes) -> list[Named]:
    batch = telemetry_pb2.ReadingBatch.FromString(payload)
    names, units, deltas = list(batch.devices) or ["wl-000000"], list(batch.units) or [""], list(batch.time_delta_ms)
    when = batch.base_time_ms
    found = []
    indices = list(batch.device_index) or [0] * len(batch.value)
    for place, delta, value in zip(indices, deltas, batch.value, strict=True):
        when += delta
        found.append((names[place], batch.metrics[0], units[0], when, value))
    return found


KINDS = (
    Kind("SenML JSON, one reading", "decode_senml_json_ns", "senml-json", payloads.single_payloads, by_json, 2000, 10),
    Kind("SenML CBOR, one reading", "decode_senml_cbor_ns", "senml-cbor", payloads.cbor_payloads, by_cbor2, 2000, 15),
    Kind("batch, 100 devices", "decode_batch_ns", "batch", payloads.batch_payloads, by_protobuf, 64, 60),
    Kind("batch, 100 samples", "decode_batch_ns", "batch", payloads.series_payloads, by_protobuf, 64, 60),
)


def make_chunks(index: DeviceIndex, messages: list[Message], encoding: str, chunk_frames: int) -> list[FrameChunk]:
    chunks = []
    for at in range(0, len(messages), chunk_frames):
        chunk = FrameChunk("mqtt")
        for sender, payload in messages[at : at + chunk_frames]:
            chunk.add(
                b"cf/v1/g/x/telemetry",
                payload,
                sender=index.find_device(sender),
                encoding=ENCODING_NAMES[encoding],
                scope=SCOPES["gateway"],
                received_ms=NOW_MS,
            )
        chunks.append(chunk)
    return chunks


class Stages:
    """Decode, resolve and batch over one index, as ingest calls them."""

    def __init__(self, index: DeviceIndex) -> None:
        self.index = index
        self.batches = BatchDecoder()
        self.readings = Readings()
        self.rows = ReadingsBlock()
        self.texts = TextBlock()
        self.quarantine = QuarantineBlock()
        self.counters = StageCounters()

    def decode(self, chunk: FrameChunk) -> None:
        decode_chunk(chunk, self.index, self.batches, self.readings, self.counters)

    def resolve(self) -> None:
        resolve_readings(
            self.readings,
            self.index,
            _EARLIEST_MS,
            _AHEAD_MS,
            self.rows,
            self.texts,
            self.quarantine,
            self.counters,
        )

    def seal(self) -> tuple[bytes, bytes, bytes]:
        return self.rows.seal(), self.quarantine.seal(), self.texts.seal()

    def run(self, chunks: list[FrameChunk], times: int) -> dict[str, float]:
        """CPU-ns per reading by stage. Raises RuntimeError if a reading was refused."""
        spent = {"decode": 0, "resolve": 0, "seal": 0}
        rows = 0
        for _ in range(times):
            for chunk in chunks:
                start = time.process_time_ns()
                self.decode(chunk)
                decoded = time.process_time_ns()
                self.resolve()
                resolved = time.process_time_ns()
                rows += len(self.rows)
                self.seal()
                spent["decode"] += decoded - start
                spent["resolve"] += resolved - decoded
                spent["seal"] += time.process_time_ns() - resolved
        if self.counters.refused:
            raise RuntimeError(f"refused: {self.counters.refused}")
        figures = {stage: used / rows for stage, used in spent.items()}
        return figures | {"block": figures["resolve"] + figures["seal"]}


class Baseline:
    """The same by a library for the syntax, dicts for the names, and clickhouse-connect for the block."""

    def __init__(self) -> None:
        self.devices = {f"wl-{number:06}": (number + 1, f"{number % 126:05}") for number in range(DEVICES)}
        self.metrics = {"water_level_m": (1, {"": 1.0, "m": 1.0, "cm": 0.01}, -2.0, 20.0)}
        self.names = [
            "device_num", "metric_num", "ts", "value", "quality", "quality_reasons", "ward_code", "received_at",
        ]  # fmt: skip
        # times as the integers they are: the library's DateTime64 takes datetime objects, which cost even more
        types = ["UInt32", "UInt16", "Int64", "Float64", "UInt8", "UInt16", "LowCardinality(String)", "Int64"]
        self.types = [get_from_name(type_) for type_ in types]

    def run(self, messages: list[bytes], decode: Callable[[bytes], list[Named]], a_block: int) -> dict[str, float]:
        """CPU-ns per reading."""
        readings = 0
        decoded_ns = block_ns = 0
        for at in range(0, len(messages), a_block):
            start = time.process_time_ns()
            named = [one for payload in messages[at : at + a_block] for one in decode(payload)]
            decoded = time.process_time_ns()
            self.block(named)
            block_ns += time.process_time_ns() - decoded
            decoded_ns += decoded - start
            readings += len(named)
        return {"decode": decoded_ns / readings, "block": block_ns / readings}

    def block(self, named: list[Named]) -> bytes:
        rows = []
        for device, metric, unit, when, value in named:
            device_num, ward = self.devices[device]
            metric_num, units, low, high = self.metrics[metric]
            if not _EARLIEST_MS <= when <= NOW_MS + _AHEAD_MS:
                continue
            scaled = value * units[unit]
            rows.append((device_num, metric_num, when, scaled, 1 if low <= scaled <= high else 4, 0, ward, NOW_MS))
        context = InsertContext("t", self.names, self.types, rows)
        return b"".join(bytes(part) for part in NativeTransform.build_insert(context))


class Measured(NamedTuple):
    kind: Kind
    payload_bytes: float
    ours: list[dict[str, float]]
    baseline: list[dict[str, float]]

    def median(self, stage: str) -> float:
        return statistics.median(one[stage] for one in self.ours)

    def figure(self, id_: str, stage: str) -> dict[str, Any]:
        """One line of the report."""
        runs = [one[stage] for one in self.ours]
        value = statistics.median(runs)
        baseline = statistics.median(one[stage] for one in self.baseline)
        return {
            "id": id_, "value": value, "unit": "CPU-ns per reading", "baseline": baseline, "ratio": baseline / value,
            "runs": runs, "spread": (max(runs) - min(runs)) / value, "payload": self.kind.name,
        }  # fmt: skip


def measure(rounds: int) -> list[Measured]:
    index = payloads.make_index()
    baseline = Baseline()
    found = []
    for kind in KINDS:
        messages = kind.messages()
        chunks = make_chunks(index, messages, kind.encoding, kind.chunk_frames)
        bodies = [payload for _, payload in messages]
        stages = Stages(index)
        stages.run(chunks, 1)
        measured = Measured(kind, statistics.mean(map(len, bodies)), [], [])
        for _ in range(rounds):
            measured.ours.append(stages.run(chunks, kind.times))
            measured.baseline.append(baseline.run(bodies, kind.baseline, kind.chunk_frames))
        found.append(measured)
    return found


def figures(found: list[Measured]) -> list[dict[str, Any]]:
    """The report's lines; where several kinds of payload share an id, the worst."""
    lines = []
    for id_ in dict.fromkeys(kind.id for kind in KINDS):
        of_id = [one for one in found if one.kind.id == id_]
        lines.append(max(of_id, key=lambda one: one.median("decode")).figure(id_, "decode"))
    lines.append(max(found, key=lambda one: one.median("block")).figure("block_ns", "block"))
    return lines


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Lines of build/bench.json: decode by encoding, and `block_ns`: resolve, batch and Native block."""
    return figures(measure(rounds))


def main() -> None:
    found = measure(ROUNDS)
    print("CPU-ns per reading, median of", ROUNDS)
    columns = ("decode", "resolve", "seal", "block")
    print(f"{'':26}{'bytes':>8}" + "".join(f"{column:>9}" for column in columns) + "   baseline decode, block   spread")
    for one in found:
        line = one.figure("", "decode")
        block = one.figure("", "block")
        print(
            f"{one.kind.name:26}{one.payload_bytes:>8.0f}"
            + "".join(f"{one.median(column):>9.2f}" for column in columns)
            + f"{line['baseline']:>18.0f}{block['baseline']:>7.0f}{line['spread']:>9.2f}"
        )
    for line in figures(found):
        print(json.dumps(line))


if __name__ == "__main__":
    main()
