"""What the benches of one stage decode: a city's index, and one kind of payload each."""

import json
import random
import struct
from typing import Any

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.index import DeviceIndex

DEVICES = 20_000
PER_BATCH = 100
NOW_MS = 1_700_000_000_000

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
            base_time_ms=NOW_MS - 1000,
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
        base_time_ms=NOW_MS - 1_000_000,
        metrics=["water_level_m"],
        time_delta_ms=[10_000] * PER_BATCH,
        value=[number / 7 for number in range(PER_BATCH)],
    )
    return [(f"wl-{number:06}", batch.SerializeToString()) for number in range(0, DEVICES, PER_BATCH)]
