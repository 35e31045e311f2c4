"""What a device says: reading n of it is a function of the seed, the device and n, in Python and in SQL."""

import struct
import zlib

from cityfleet.telemetry.v1 import telemetry_pb2

# Event times: base + n milliseconds. The past, so that no clock of the machine matters.
BASE_MS = 1_700_000_000_000
# A prime, so that neighbours differ and every value comes up; below 20 metres, as the gauges' type wants.
_VALUES = 19_997
_STEP = 104_729
_DEVICE = 7_919


class Sequence:
    """Values and payloads of all devices of one fleet; `per_message` readings go together."""

    def __init__(self, seed: str, per_message: int, metric: str) -> None:
        if not 1 <= per_message <= _VALUES:
            raise ValueError(f"per_message must be 1 to {_VALUES}")
        self.per_message = per_message
        self.salt = zlib.crc32(seed.encode()) % _VALUES
        table = [number * _STEP % _VALUES / 1000 for number in range(_VALUES)]
        # Twice, so that any run of values is one slice.
        self._packed = struct.pack(f"<{2 * _VALUES}d", *table, *table)
        self._table = table
        self._metric = metric
        self._value_head = b"\x42" + varint(8 * per_message)  # field 8, packed doubles

    def value(self, device: int, sequence: int) -> float:
        return self._table[(self.salt + _DEVICE * device + sequence) % _VALUES]

    def fixed(self, device_id: str) -> bytes:
        """The part of a payload that is the same in all messages of a device; without a name: the sender's own."""
        return bytes(
            telemetry_pb2.ReadingBatch(
                devices=[device_id] if device_id else [],
                metrics=[self._metric],
                device_index=[0] if device_id else [],
                metric_index=[0],
                time_delta_ms=[0, *[1] * (self.per_message - 1)],
            ).SerializeToString()
        )

    def payload(self, fixed: bytes, device: int, message: int) -> bytes:
        """A `ReadingBatch`: fields of a protobuf message may come in any order."""
        first = message * self.per_message
        at = (self.salt + _DEVICE * device + first) % _VALUES * 8
        time = varint((BASE_MS + first) << 1)  # field 1, zigzag
        return b"".join((b"\x08", time, fixed, self._value_head, self._packed[at : at + 8 * self.per_message]))

    def sql_value(self, device: str, sequence: str) -> str:
        """The same as `value` over two integer expressions."""
        return f"((({self.salt} + {_DEVICE} * {device} + {sequence}) % {_VALUES}) * {_STEP} % {_VALUES}) / 1000"


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
