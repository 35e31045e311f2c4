"""Devices that send as fast as they are let: what TCP and the acknowledgements take, and how much that was."""

import asyncio
import struct

from tests.support import mqtt_packets as mq


class Flood:
    """One MQTT 5 client that sends as fast as TCP takes it, QoS 1, and counts PUBACKs, which must come in order.

    `pause_s` between two messages makes it a quiet one.
    """

    def __init__(self, roles, user, token, topic, fixed, number, sequence, pause_s=0.0):
        self._pause_s = pause_s
        self._roles, self._user, self._token = roles, user, token
        self._topic, self._fixed, self._number, self._sequence = topic, fixed, number, sequence
        self.sent = self.acked = 0
        self.stop = asyncio.Event()
        self._tasks = []

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._roles.ports["mqtt"])
        self.writer.write(mq.connect(5, self._user.encode(), self._user.encode(), self._token.encode()))
        head = await self.reader.readexactly(2)
        assert (await self.reader.readexactly(head[1]))[1] == 0
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._count())]
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended), ended
        self.writer.transport.abort()

    def message(self, number):
        payload = self._sequence.payload(self._fixed, self._number, number)
        return mq.publish(self._topic, payload, number % 60_000 + 1)

    async def _send(self):
        while not self.stop.is_set():
            self.writer.write(self.message(self.sent))
            self.sent += 1
            await self.writer.drain()
            if self._pause_s:
                await asyncio.sleep(self._pause_s)

    async def _count(self):
        while True:
            head = await self.reader.readexactly(2)
            body = await self.reader.readexactly(head[1])
            assert head[0] == 0x40, head
            assert struct.unpack(">H", body[:2])[0] == self.acked % 60_000 + 1
            assert body[2:] in (b"", b"\0"), body
            self.acked += 1
