"""CPU per reading of decoding Sparkplug's NDATA and DDATA by alias, beside the protobuf runtime and dicts.

`python -m loadtest.bench.decode_sparkplug`: median of five; the baseline runs between the rounds, in the same process.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.sparkplug import SparkplugDecoder
from ext.telemetry.sparkplug_births import Births
from loadtest.sparkplug_schema import Metric, Payload

NODES = 64
METRICS = 100
ROUNDS = 5
_TIMES = 20
_NOW_MS = 1_700_000_000_000
# name of the field, datatype, value of a number
_KINDS: tuple[tuple[str, int, Callable[[int], float]], ...] = (
    ("double_value", 10, lambda number: number / 7),
    ("float_value", 9, lambda number: number / 8),
    ("int_value", 3, lambda number: (number - 50) & 0xFFFFFFFF),
    ("long_value", 4, lambda number: (number * 1_000_003 - 7) & 0xFFFFFFFFFFFFFFFF),
)

Message = tuple[bytes, bytes]


def _metric(number: int, offset_ms: int, is_birth: bool) -> Any:
    field, datatype, value_of = _KINDS[number % len(_KINDS)]
    one = Metric(alias=number, timestamp=_NOW_MS + offset_ms, **{field: value_of(number)})
    if is_birth:
        one.name, one.datatype = f"Line {number % 5}/sensor-{number}".encode(), datatype
    return one


def _message(path: bytes, verb: bytes, seq: int, metrics: list[Any]) -> Message:
    group, _, rest = path.partition(b"/")
    data: bytes = Payload(timestamp=_NOW_MS, seq=seq, metrics=metrics).SerializeToString()
    return b"spBv1.0/" + group + b"/" + verb + b"/" + rest, data


def make_messages() -> tuple[list[Message], list[Message]]:
    """Births of nodes and of one device behind each; then their data: 20, 50 or all 100 metrics, in order, by alias."""
    births, data = [], []
    chance = random.Random(7)
    whole = range(METRICS)
    for node in range(NODES):
        path = b"plant/edge-%02d" % node
        births.append(_message(path, b"NBIRTH", 0, [_metric(number, 0, True) for number in whole]))
        births.append(_message(path + b"/plc", b"DBIRTH", 1, [_metric(number, 0, True) for number in whole]))
    for seq in range(2, 6):
        for node in range(NODES):
            path = b"plant/edge-%02d" % node
            chosen = sorted(chance.sample(whole, chance.choice((20, 50, METRICS))))
            metrics = [_metric(number, seq, False) for number in chosen]
            is_node = seq % 2 == 0
            data.append(_message(path if is_node else path + b"/plc", b"NDATA" if is_node else b"DDATA", seq, metrics))
    return births, data


def make_chunk(messages: list[Message]) -> FrameChunk:
    chunk = FrameChunk("broker")
    for topic, payload in messages:
        chunk.add(topic, payload, encoding=ENCODING_NAMES["sparkplug"], scope=1, received_ms=_NOW_MS, is_trusted=True)
    return chunk


def decode_ns(births: list[Message], data: list[Message]) -> float:
    """CPU-ns per reading. Raises RuntimeError if a reading was refused or one is missing."""
    decoder, readings, counters = SparkplugDecoder(Births()), Readings(), StageCounters()
    index, batches = DeviceIndex(), BatchDecoder()
    decode_chunk(make_chunk(births), index, batches, readings, counters, decoder)
    chunk = make_chunk(data)
    decode_chunk(chunk, index, batches, readings, counters, decoder)
    before = counters.items_out
    start = time.process_time_ns()
    for _ in range(_TIMES):
        decode_chunk(chunk, index, batches, readings, counters, decoder)
    spent = time.process_time_ns() - start
    rows = counters.items_out - before
    expected = _TIMES * sum(len(Payload.FromString(payload).metrics) for _, payload in data)
    if rows != expected or counters.refused or any(row[6] for row in readings.rows()):
        raise RuntimeError(f"decoded {rows} of {expected} readings, refused {counters.refused}")
    return spent / rows


def _key(topic: bytes) -> bytes:
    _, group, _, edge, *device = topic.split(b"/")
    return b"/".join([group, edge, *device])


def baseline_ns(births: list[Message], data: list[Message]) -> float:
    """The protobuf runtime (upb, in C), a dict of aliases for each sender and a list of row tuples."""
    aliases: dict[bytes, dict[int, tuple[str, int]]] = {}
    rows: list[tuple[Any, ...]] = []
    for topic, payload in births:
        aliases[_key(topic)] = {
            one.alias: (one.name.decode(), one.datatype) for one in Payload.FromString(payload).metrics
        }
    start = time.process_time_ns()
    for topic, payload in data:
        key = _key(topic)
        known = aliases[key]
        message = Payload.FromString(payload)
        for one in message.metrics:
            name, datatype = known[one.alias]
            value = getattr(one, one.WhichOneof("value"))
            if datatype == 3 and value >= 1 << 31:
                value -= 1 << 32
            elif datatype == 4 and value >= 1 << 63:
                value -= 1 << 64
            rows.append((key, name, one.timestamp or message.timestamp, float(value)))
    return (time.process_time_ns() - start) / len(rows)


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """One result, `decode_sparkplug_ns`; `spread` is (highest - lowest) / median."""
    births, data = make_messages()
    decode_ns(births, data)
    ours, others = [], []
    for _ in range(rounds):
        ours.append(decode_ns(births, data))
        others.append(baseline_ns(births, data))
    value, baseline = statistics.median(ours), statistics.median(others)
    return [
        {
            "id": "decode_sparkplug_ns",
            "value": value,
            "unit": "CPU-ns per reading",
            "baseline": baseline,
            "ratio": baseline / value,
            "runs": rounds,
            "spread": (max(ours) - min(ours)) / value,
        }
    ]


def main() -> None:
    for result in run():
        print(json.dumps(result))


if __name__ == "__main__":
    main()
