"""Fuzzing of Sparkplug: any sequence of payloads is read as the protobuf runtime reads it, and its state is restored.

The input is messages one after the other: a byte for the topic, two for the size, the payload.
"""

import struct

from ext.telemetry.sparkplug_births import Births
from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import Host, metric, payload, properties

_TOPICS = (
    b"spBv1.0/G/NBIRTH/E",
    b"spBv1.0/G/NDATA/E",
    b"spBv1.0/G/DBIRTH/E/D",
    b"spBv1.0/G/DDATA/E/D",
    b"spBv1.0/G/NDEATH/E",
    b"spBv1.0/G/DDEATH/E/D",
)


def _pack(*messages: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<BH", topic, len(data)) + data for topic, data in messages)


_NODE = payload(
    metric(3, "long_value", name="bdSeq", datatype=4),
    metric(1.5, name="level", alias=1, datatype=10, properties=properties(engUnit="cm")),
    metric(255, "int_value", name="temp", alias=1 << 40, datatype=1),
    metric("x", "string_value", name="mode", alias=2, datatype=12),
    timestamp=NOW_MS,
    seq=0,
)
_DATA = payload(
    metric(2.5, alias=1),
    metric(128, "int_value", alias=1 << 40, timestamp=NOW_MS),
    metric("y", "string_value", alias=2, is_historical=True),
    metric(alias=2, is_null=True),
    metric(1.0, alias=9),
    timestamp=NOW_MS,
    seq=1,
)
_DEATH = payload(metric(3, "long_value", name="bdSeq", datatype=4), timestamp=NOW_MS)

CORPUS: list[bytes] = [
    _pack((0, _NODE), (1, _DATA)),
    _pack((0, _NODE), (2, _NODE), (3, _DATA), (1, _DATA)),
    _pack((0, _NODE), (4, _DEATH), (1, _DATA)),
    _pack((2, _NODE), (5, payload(seq=7)), (3, _DATA)),
    _pack((1, b"\x12\x80\x80\x80\x80\x08"), (1, b"\x0b\x0c"), (1, b"\x93\x01\x94\x01")),
]


def fuzz_one(data: bytes) -> None:
    """Raises AssertionError where the decoder and its twin differ."""
    host, twin = DecodingHost(), Host()
    while len(data) >= 3:
        number, size = struct.unpack_from("<BH", data)
        topic, message, data = _TOPICS[number % len(_TOPICS)], data[3 : 3 + size], data[3 + size :]
        assert host.take(topic, message) == twin.take(topic, message, NOW_MS)
    births = Births()
    births.load(host.births.take_journal())
    for key in (b"G/E", b"G/E/D"):
        before, after = host.births.known(0, key), births.known(0, key)
        if before and before["is_born"]:
            assert after is not None
            assert after["metrics"] == before["metrics"]
    births.load(data)
