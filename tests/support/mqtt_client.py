"""A raw MQTT client for tests: sends bytes as they are given, and reads what the server says."""

import asyncio
import contextlib
from types import TracebackType

from tests.support import mqtt_packets as mq
from tests.support.mqtt_packets import Reply

DEADLINE_S = 60.0


class RawClient:
    """`async with RawClient(port, version) as client`. After `connect()` the CONNACK is in `connack`."""

    def __init__(self, port: int, version: int = 5) -> None:
        self.port = port
        self.version = version
        self.connack: Reply | None = None
        self._rest = b""
        self._replies: list[Reply] = []

    async def __aenter__(self) -> "RawClient":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, *packets: bytes) -> None:
        self.writer.write(b"".join(packets))

    async def connect(self, device: bytes = b"wl-1", client_id: bytes = b"c1", **options: object) -> Reply:
        """Send CONNECT with the device's or operator's token and read the CONNACK."""
        self.send(mq.connect(self.version, client_id, device, b"token-" + device, **options))  # type: ignore[arg-type]
        self.connack = await self.reply()
        assert self.connack.type == mq.CONNACK, self.connack
        return self.connack

    async def reply(self) -> Reply:
        """The next packet. Raises EOFError if the server closes, TimeoutError if it says nothing."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._replies:
                try:
                    data = await self.reader.read(65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise EOFError("closed by the server")
                packets, self._rest = mq.split(self._rest + data)
                self._replies += [mq.read_reply(first, body, self.version) for first, body in packets]
        return self._replies.pop(0)

    async def subscribe(self, *filters: tuple[bytes, int], props: mq.Properties = []) -> tuple[int, ...]:  # noqa: B006
        """Subscribe to (filter, options); the SUBACK must be the next packet. Returns its reason codes."""
        self.send(mq.subscribe(9, list(filters), version=self.version, props=props))
        suback = await self.reply()
        assert (suback.type, suback.packet_id) == (mq.SUBACK, 9), suback
        return suback.reasons

    async def unsubscribe(self, *filters: bytes) -> tuple[int, ...]:
        self.send(mq.unsubscribe(10, list(filters), version=self.version))
        unsuback = await self.reply()
        assert (unsuback.type, unsuback.packet_id) == (mq.UNSUBACK, 10), unsuback
        return unsuback.reasons

    def publish(self, topic: bytes, payload: bytes, packet_id: int = 0, **options: object) -> None:
        self.send(mq.publish(topic, payload, packet_id, version=self.version, **options))  # type: ignore[arg-type]

    def ack(self, message: Reply, reason: int | None = None) -> None:
        """Answer a QoS 1 message by PUBACK, a QoS 2 message by PUBREC."""
        self.send(mq.ack(mq.PUBACK if message.qos == 1 else mq.PUBREC, message.packet_id, reason))

    def drop(self) -> None:
        """Cut the connection without a DISCONNECT."""
        self.writer.transport.abort()

    async def leave(self, reason: int | None = None, props: mq.Properties | None = None) -> None:
        """Send DISCONNECT and wait until the server has closed."""
        self.send(mq.disconnect(reason, props))
        assert await self.until_closed() == []

    async def replies(self, count: int) -> list[Reply]:
        return [await self.reply() for _ in range(count)]

    async def until_closed(self) -> list[Reply]:
        """All packets until the server closes. Raises TimeoutError if it does not."""
        found = []
        try:
            while True:
                found.append(await self.reply())
        except EOFError:
            assert not self._rest, "half a packet before the end"
            return found

    async def ping(self) -> None:
        """Raises AssertionError if anything but the answer comes: so nothing else was under way."""
        self.send(b"\xc0\x00")
        answer = await self.reply()
        assert answer.type == mq.PINGRESP, answer
