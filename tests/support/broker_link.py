"""A connection to an external broker without a socket: bytes in, frames and acknowledgements out."""

import asyncio
import struct

from ext.mqtt.client import BrokerLink
from ext.mqtt.intake import Intake
from tests.support import mqtt_packets as mq
from tests.support.fake_broker import connack
from tests.support.mqtt_server import fleet

GREETING = connack() + mq.packet(mq.SUBACK, b"\xff\xff\0\1")
INDEX = fleet()


class Transport:
    """What a link asks of its transport."""

    def __init__(self) -> None:
        self.written, self.is_closed, self.reading = [], False, True

    def write(self, data):
        assert not self.is_closed
        self.written.append(bytes(data))

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        assert not self.is_closed
        self.reading = True

    def write_eof(self):
        raise OSError  # then the link closes

    def close(self):
        self.is_closed = True

    abort = close

    def set_write_buffer_limits(self, high):
        pass

    def get_extra_info(self, name):
        return None


class Link:
    """A link without a socket."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.chunks = []
        self.intake = Intake(INDEX, self.chunks.append, self.loop, 1.0)
        self.link = BrokerLink(
            self.intake, b"node-0", max_packet_bytes=4096, connect_timeout_s=10, stall_s=0, ack_timeout_s=0
        )
        _, self.closed = self.link.begin(
            5, username=None, password=None, filters=[(b"#", 0x22)], stale_filters=[], keep_alive_s=60,
            session_expiry_s=60,
        )  # fmt: skip
        self.transport = Transport()
        self.link.connection_made(self.transport)
        self.feed(GREETING)

    def feed(self, data):
        for at in range(0, len(data), 100_000):
            piece = data[at : at + 100_000]
            self.link.get_buffer(-1)[: len(piece)] = piece
            self.link.buffer_updated(len(piece))

    def finish(self):
        """Let everything be durable; the frames and the acknowledgements, as (type, packet id)."""
        self.intake.hand_on()
        del self.transport.written[:2]
        for chunk in self.chunks:
            self.intake.acknowledge(chunk)
        packets, rest = mq.split(b"".join(self.transport.written))
        assert rest == b""
        self.intake.close()
        self.loop.close()
        frames = [frame for chunk in self.chunks for frame in chunk.as_tuples()]
        return frames, [(first >> 4, struct.unpack(">H", body[:2])[0]) for first, body in packets if len(body) >= 2]
