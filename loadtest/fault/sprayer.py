"""One raw MQTT 5 connection that sends whatever it is given at QoS 1, a window at a time, and counts the answers."""

import asyncio
import struct
from collections import Counter
from collections.abc import Iterable

from loadtest.fault.connects import connect_packet
from loadtest.fault.sequence import varint


class RefusedError(Exception):
    """The CONNACK's reason code is `code`; -1: the connection ended before."""

    def __init__(self, code: int) -> None:
        super().__init__(f"CONNACK 0x{code:02x}" if code >= 0 else "no CONNACK")
        self.code = code


class Sprayer:
    """`async with Sprayer(port, "gw-0", token) as one: await one.send("cf/v1/g/gw-0/telemetry/batch", payloads)`."""

    def __init__(
        self, port: int, user: str, token: str, *, client_id: str = "sprayer", window: int = 500, version: int = 5
    ) -> None:
        """`version`: of MQTT, 5 or 4 for 3.1.1."""
        self._version = version
        self._port, self._user, self._token, self._client_id = port, user, token, client_id
        self._window = window
        # PUBACKs by reason code.
        self.answers: Counter[int] = Counter()

    async def __aenter__(self) -> "Sprayer":
        """Raises: RefusedError, OSError."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        self._writer.write(connect_packet(self._client_id, self._user, self._token, self._version))
        try:
            kind, body = await self._packet()
        except asyncio.IncompleteReadError:
            raise RefusedError(-1) from None
        if kind != 0x20 or body[1]:
            raise RefusedError(body[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def _packet(self) -> tuple[int, bytes]:
        kind, size = await self._reader.readexactly(2)
        shift = 7
        if size & 0x80:
            size &= 0x7F
            while True:
                (more,) = await self._reader.readexactly(1)
                size |= (more & 0x7F) << shift
                if not more & 0x80:
                    break
                shift += 7
        return kind & 0xF0, await self._reader.readexactly(size)

    async def send(self, topic: str, payloads: Iterable[bytes]) -> bytearray:
        """Send all; returns the reason code of each. Raises: asyncio.IncompleteReadError when the connection ends."""
        codes = bytearray()
        properties = b"\x00" if self._version == 5 else b""
        head = struct.pack(">H", len(topic)) + topic.encode()
        window: list[bytes] = []
        for payload in payloads:
            body = b"".join((head, struct.pack(">H", len(window) + 1), properties, payload))
            window.append(b"\x32" + varint(len(body)) + body)
            if len(window) == self._window:
                codes += await self._exchange(window)
                window = []
        return codes + await self._exchange(window)

    async def _exchange(self, packets: list[bytes]) -> bytearray:
        self._writer.write(b"".join(packets))
        left = len(packets)
        codes = bytearray(left)
        while left:
            kind, body = await self._packet()
            if kind == 0x40:
                code = body[2] if len(body) > 2 else 0
                codes[(body[0] << 8 | body[1]) - 1] = code
                self.answers[code] += 1
                left -= 1
        return codes
