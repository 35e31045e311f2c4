"""Fuzzing the whole pipeline: whatever the frames hold, the blocks are whole, and every reading is in one of them."""

import struct

from ext.telemetry.frames import ENCODING_NAMES
from tests.fuzz import reading_batch
from tests.support.pipeline import Message, Pipeline
from tests.support.resolve_twin import make_index

_ENCODINGS = ["", *ENCODING_NAMES, "unheard-of"]
_SENDERS = (None, "wl-1", "gw-1", "wl-old")
_HEAD = struct.Struct("<BBqH")


def _frames(*frames: tuple[int, int, int, bytes]) -> bytes:
    return b"".join(_HEAD.pack(who, encoding, when, len(payload)) + payload for who, encoding, when, payload in frames)


_NOW = 1_700_000_000_000
_SENML = b'[{"n":"rain_mm","v":1},{"n":"water_level_m","u":"cm","vs":"\\u00e9"},{"n":"wl-1:rain_mm","vb":true}]'
CORPUS = [
    _frames((1, 1, _NOW, _SENML), (2, 2, _NOW, reading_batch.CORPUS[1]), (5, 1, 0, _SENML)),
    _frames((2, 2, -(1 << 62), reading_batch.CORPUS[2]), (0, 0, _NOW, b""), (3, 11, _NOW, bytes(300))),
    _frames((6, 1, _NOW, b"[" * 40), (2, 0, 1 << 62, reading_batch.CORPUS[0])),
]
_PIPELINE = Pipeline(make_index())


def fuzz_one(data: bytes) -> None:
    """Raises: AssertionError if the blocks cannot be read back or the counters do not add up."""
    messages = []
    while len(data) >= _HEAD.size:
        who, encoding, when, size = _HEAD.unpack_from(data)
        payload, data = data[_HEAD.size : _HEAD.size + size], data[_HEAD.size + size :]
        scope = "gateway" if who & 4 else "device"
        # The transports' clock, which is ours, is between the years 1970 and 2200.
        received_ms = when % 7_258_118_400_000
        name = _ENCODINGS[encoding % len(_ENCODINGS)]
        messages.append(Message(payload, _SENDERS[who % len(_SENDERS)], scope, name, received_ms))
    rows, quarantine = _PIPELINE.run(messages)
    known = {1: "water_level_m", 2: "temperature_cel", 3: "vehicle_count", 4: "rain_mm"}
    assert all(row["metric_num"] in known for row in rows)
    payloads = {message.payload for message in messages}
    assert all(row["payload"] in payloads for row in quarantine)
