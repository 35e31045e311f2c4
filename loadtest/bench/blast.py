"""A generator that costs little: pre-encoded PUBLISH packets over many connections, acknowledgements only counted."""

import asyncio
import multiprocessing
import struct
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import uvloop

_PUBACK = 0x40
_CONNACK_BYTES = 2


class Sender(NamedTuple):
    """One connection: who it is, and its messages as (topic, payload), at most 65,535 of them."""

    device_id: str
    token: str
    messages: Sequence[tuple[str, bytes]]


class Blast(NamedTuple):
    """What one blast took: from the first byte to the last PUBACK, and the generator's own CPU."""

    messages: int
    acked_s: float
    generator_cpu_s: float


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, body: bytes) -> bytes:
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + body


def _connect(sender: Sender) -> bytes:
    """MQTT 3.1.1 CONNECT, clean session, keep-alive off: PUBACKs then have four bytes each."""
    head = _text("MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 0)
    return _packet(0x10, head + _text(sender.device_id) + _text(sender.device_id) + _text(sender.token))


def _publishes(sender: Sender) -> bytes:
    return b"".join(
        _packet(0x32, _text(topic) + struct.pack(">H", number) + payload)
        for number, (topic, payload) in enumerate(sender.messages, 1)
    )


class _Protocol(asyncio.Protocol):
    def __init__(self, expected_acks: int) -> None:
        self._waiting_bytes = 4 * expected_acks
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.connected.done():
            if data[:4] != b"\x20\x02\x00\x00":
                self.connected.set_exception(ConnectionError(f"refused: {data[:4].hex()}"))
                return
            self.connected.set_result(None)
            data = data[4:]
        self._waiting_bytes -= len(data)
        if self._waiting_bytes == 0 and not self.acked.done():
            self.acked.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.connected, self.acked):
            if not future.done():
                future.set_exception(exc or ConnectionError("closed before all was acknowledged"))


async def _run(port: int, senders: Sequence[Sender], control: "Connection[object, object]") -> None:
    loop = asyncio.get_running_loop()
    blobs = [_publishes(sender) for sender in senders]
    links = []
    for sender in senders:
        transport, protocol = await loop.create_connection(
            lambda sender=sender: _Protocol(len(sender.messages)),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        transport.write(_connect(sender))
        await protocol.connected
        links.append((transport, protocol))
    control.send("ready")
    control.recv()
    cpu, began = time.process_time(), time.perf_counter()
    for (transport, _), blob in zip(links, blobs, strict=True):
        transport.write(blob)
    await asyncio.gather(*(protocol.acked for _, protocol in links))
    acked_s = time.perf_counter() - began
    control.send(Blast(sum(len(sender.messages) for sender in senders), acked_s, time.process_time() - cpu))
    for transport, _ in links:
        transport.close()


def _process(port: int, senders: Sequence[Sender], control: "Connection[object, object]") -> None:
    uvloop.run(_run(port, senders, control))


class Blaster:
    """A generator process: `with Blaster(port, senders) as blaster: blaster.start(); result = blaster.wait(60)`."""

    def __init__(self, port: int, senders: Sequence[Sender]) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process = context.Process(target=_process, args=(port, senders, theirs), daemon=True)

    def __enter__(self) -> "Blaster":
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
