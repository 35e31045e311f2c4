"""WebSocket frames in plain Python (RFC 6455 section 5): the client side of the tests, free to break every rule."""

import asyncio
import random
import struct
from typing import NamedTuple

from tests.support.mqtt_client import DEADLINE_S

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the example of RFC 6455 section 1.3


def request(path: bytes = b"/mqtt", method: bytes = b"GET", version: bytes = b"HTTP/1.1", **changed: bytes) -> bytes:
    """An upgrade request; `sec_websocket_key=b"x"` replaces a header, an empty value leaves it out."""
    headers = {
        b"host": b"127.0.0.1",
        b"upgrade": b"websocket",
        b"connection": b"keep-alive, Upgrade",
        b"sec-websocket-key": KEY,
        b"sec-websocket-version": b"13",
        b"sec-websocket-protocol": b"mqttv3.1, mqtt",
    }
    headers |= {name.encode().replace(b"_", b"-"): value for name, value in changed.items()}
    lines = [b"%s %s %s" % (method, path, version), *(b"%s: %s" % pair for pair in headers.items() if pair[1])]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(
    payload: bytes,
    opcode: int = BINARY,
    *,
    is_last: bool = True,
    reserved: int = 0,
    mask: bytes | None = None,
    is_masked: bool = True,
    length: int | None = None,
) -> bytes:
    """One frame of a client. `length` announces another size, in the longest form."""
    size = len(payload)
    head = bytes([(0x80 if is_last else 0) | reserved << 4 | opcode])
    bit = 0x80 if is_masked else 0
    if length is not None:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    elif size < 126:
        head += bytes([bit | size])
    elif size < 65_536:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    if not is_masked:
        return head + payload
    # The same for every worker that collects the tests.
    mask = random.Random(payload).randbytes(4) if mask is None else mask
    return head + mask + bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))


class Frame(NamedTuple):
    opcode: int
    payload: bytes


class RawWebSocket:
    """`async with RawWebSocket(port) as client`; `upgrade` first."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> "RawWebSocket":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def answer(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the HTTP answer."""
        async with asyncio.timeout(DEADLINE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head[:-4].split("\r\n")
        return int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines)

    async def upgrade(self) -> None:
        self.send(request())
        status, headers = await self.answer()
        assert (status, headers["Sec-WebSocket-Accept"]) == (101, ACCEPT.decode())
        assert headers["Sec-WebSocket-Protocol"] == "mqtt"

    async def frame(self) -> Frame:
        """The next frame. Raises AssertionError if the server masks or fragments, EOFError at the end."""
        async with asyncio.timeout(DEADLINE_S):
            try:
                first, second = await self.reader.readexactly(2)
                assert first & 0xF0 == 0x80
                assert second < 0x80, "a server does not mask"
                size = second
                if second == 126:
                    size = struct.unpack(">H", await self.reader.readexactly(2))[0]
                elif second == 127:
                    size = struct.unpack(">Q", await self.reader.readexactly(8))[0]
                return Frame(first & 15, await self.reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionResetError) as exc:
                raise EOFError("closed by the server") from exc

    async def close_code(self) -> int:
        """Read on until the server's Close frame and the end of its half."""
        while (frame := await self.frame()).opcode != CLOSE:
            pass
        async with asyncio.timeout(DEADLINE_S):
            assert await self.reader.read() == b""
        return int(struct.unpack(">H", frame.payload)[0])
