"""A gRPC generator that costs little: pre-encoded requests over plain HTTP/2, one stream a connection, acks read.

Just enough of HTTP/2 (RFC 9113) for `TelemetryService.Publish`: literal headers, DATA within the windows, SETTINGS
and PING answered.
"""

import asyncio
import multiprocessing
import struct
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import uvloop

from loadtest.bench.blast import Blast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PATH = b"/cityfleet.telemetry.v1.TelemetryService/Publish"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_STREAM = 1
_INITIAL_WINDOW, _MAX_FRAME = 4, 5
_WIDE = 1 << 30


class GrpcSender(NamedTuple):
    """One stream: who it is, and its PublishRequests, their sequences from 1 without gaps."""

    device_id: str
    token: str
    requests: Sequence[bytes]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing and without Huffman coding, RFC 7541 section 6.2.2; below 127 bytes each."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _headers(sender: GrpcSender) -> bytes:
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", _PATH),
        (b":authority", b"127.0.0.1"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"cf-device-id", sender.device_id.encode()),
        (b"authorization", f"Bearer {sender.token}".encode()),
    )
    return b"".join(_literal(name, value) for name, value in fields)


def _varint(data: bytes) -> int:
    value = 0
    for shift, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            break
    return value


class _Protocol(asyncio.Protocol):
    """Sends what the windows allow; `done` when the last request is acknowledged."""

    def __init__(self, sender: GrpcSender) -> None:
        self._sender = sender
        self._waiting: deque[bytes] = deque()
        self._initial, self._window, self._stream_window = 65_535, 65_535, 65_535
        self._rest = b""
        self._transport: asyncio.Transport
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, _WIDE))
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDE))
            + _frame(_HEADERS, _END_HEADERS, _STREAM, _headers(self._sender))
        )

    def start(self) -> None:
        """Lay the requests out in frames and send as many as may go."""
        for request in self._sender.requests:
            body = b"\0" + struct.pack(">I", len(request)) + request
            for at in range(0, len(body), 16_384):
                self._waiting.append(_frame(_DATA, 0, _STREAM, body[at : at + 16_384]))
        self._send()

    def _send(self) -> None:
        allowed, frames = min(self._window, self._stream_window), []
        while self._waiting and len(self._waiting[0]) - 9 <= allowed:
            frame = self._waiting.popleft()
            frames.append(frame)
            allowed -= len(frame) - 9
            self._window -= len(frame) - 9
            self._stream_window -= len(frame) - 9
        if frames:
            self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + size:
                break
            kind, flags, stream = data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9], "big")
            self._take(kind, flags, stream, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]
        self._send()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _WINDOW_UPDATE:
            if stream:
                self._stream_window += int.from_bytes(payload, "big")
            else:
                self._window += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[at : at + 6])
                if key == _INITIAL_WINDOW:
                    self._stream_window += value - self._initial
                    self._initial = value
            self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == _PING and not flags & _ACK:
            self._transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind == _DATA:
            # Each is one answer: 5 bytes before the message, whose only field is the acknowledged sequence.
            acked = 0
            while len(payload) > 6:
                size = int.from_bytes(payload[1:5], "big")
                acked, payload = _varint(payload[6 : 5 + size]), payload[5 + size :]
            if acked == len(self._sender.requests) and not self.done.done():
                self.done.set_result(None)
        elif kind in (_RST_STREAM, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            self.connection_lost(ConnectionError(f"the server ended the stream: {payload[:300]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.ready, self.done):
            if not future.done():
                future.set_exception(exc or ConnectionError("closed before all was acknowledged"))


async def _run(port: int, senders: Sequence[GrpcSender], control: "Connection[object, object]") -> None:
    loop = asyncio.get_running_loop()
    links = []
    for sender in senders:
        transport, protocol = await loop.create_connection(
            lambda sender=sender: _Protocol(sender),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        await protocol.ready
        links.append((transport, protocol))
    control.send("ready")
    control.recv()
    cpu, began = time.process_time(), time.perf_counter()
    for _, protocol in links:
        protocol.start()
    await asyncio.gather(*(protocol.done for _, protocol in links))
    acked_s = time.perf_counter() - began
    control.send(Blast(sum(len(sender.requests) for sender in senders), acked_s, time.process_time() - cpu))
    for transport, _ in links:
        transport.close()


def _process(port: int, senders: Sequence[GrpcSender], control: "Connection[object, object]") -> None:
    uvloop.run(_run(port, senders, control))


class GrpcBlaster:
    """A generator process, to be used as `loadtest.bench.blast.Blaster`."""

    def __init__(self, port: int, senders: Sequence[GrpcSender]) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(target=_process, args=(port, senders, theirs), daemon=True)

    def __enter__(self) -> "GrpcBlaster":
        self._process.start()
        if self._control.recv() != "ready":
            raise ConnectionError("the generator could not connect")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()

    def start(self) -> float:
        """Let it go; returns the time of `time.perf_counter`."""
        began = time.perf_counter()
        self._control.send("go")
        return began

    def wait(self, timeout_s: float) -> Blast:
        """The result, when everything is acknowledged. Raises: TimeoutError."""
        if not self._control.poll(timeout_s):
            raise TimeoutError(f"not everything was acknowledged within {timeout_s:g} s")
        result = self._control.recv()
        assert isinstance(result, Blast)
        return result
