"""The bus between the workers of one machine: unix sockets, length-prefixed MessagePack, bounded.

Every worker listens on `<data>/run/ingest-<n>.bus` (mode 0600) and dials every other; what it asks goes out on the
link that it dialled, the answer comes back on the same. A worker that is away answers nothing, and has nothing: its
connections went with it.
"""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import structlog

log = structlog.get_logger()

MAX_MESSAGE_BYTES = 64_000_000
# What may wait for a worker that does not read; above it messages to it are dropped and counted.
_QUEUE_BYTES = 16_000_000
_ASK_TIMEOUT_S = 3.0
_REDIAL_S = 0.2
_HEAD_BYTES = 4
_HELLO = "hello"

Message = TypeVar("Message", bound=msgspec.Struct)


class Call(msgspec.Struct, array_like=True, frozen=True):
    """One message. `id` 0: nobody waits for an answer."""

    id: int
    worker: int
    subject: str
    body: msgspec.Raw = msgspec.Raw(b"\xc0")


class Answer(msgspec.Struct, array_like=True, frozen=True):
    id: int
    body: msgspec.Raw


class Nothing(msgspec.Struct, array_like=True, frozen=True):
    """A body, or an answer, that says only that it came."""


# Gets the sender's number and the body; what it returns is the answer.
Handler = Callable[[int, msgspec.Raw], Awaitable[object]]
Receiver = Callable[[int, msgspec.Raw], None]

_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(Call).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


class _Wire(asyncio.Protocol):
    """Bytes to messages: four bytes of length, then so many of message."""

    def __init__(self, take: Callable[["_Wire", memoryview], None], lost: Callable[["_Wire"], None]) -> None:
        self._take = take
        self._lost = lost
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._split()
        except (msgspec.MsgspecError, ValueError) as exc:
            log.error("bus_message_refused", reason=str(exc))
            if self.transport is not None:
                self.transport.abort()

    def _split(self) -> None:
        at, end = 0, len(self._buffer)
        with memoryview(self._buffer) as view:
            while end - at >= _HEAD_BYTES:
                size = int.from_bytes(view[at : at + _HEAD_BYTES], "big")
                if size > MAX_MESSAGE_BYTES:
                    raise ValueError(f"a message of {size} bytes")
                if end - at - _HEAD_BYTES < size:
                    break
                with view[at + _HEAD_BYTES : at + _HEAD_BYTES + size] as message:
                    self._take(self, message)
                at += _HEAD_BYTES + size
        del self._buffer[:at]

    def say(self, message: msgspec.Struct) -> bool:
        """False if it cannot be sent."""
        data = _encode(message)
        if self.transport is None or len(data) > MAX_MESSAGE_BYTES:
            return False
        if self.transport.get_write_buffer_size() + len(data) > max(_QUEUE_BYTES, len(data)):
            return False
        self.transport.write(len(data).to_bytes(_HEAD_BYTES, "big") + data)
        return True


class Bus:
    """`handlers` and `receivers` by subject must be set before `start`.

    Counters: `bus.sent`, `bus.received`, `bus.dropped`, `bus.unanswered`.
    """

    def __init__(self, number: int, count: int, data_dir: Path) -> None:
        self.number = number
        self.handlers: dict[str, Handler] = {_HELLO: self._on_hello}
        # Messages that nobody answers, taken in the order in which they were sent; must not raise.
        self.receivers: dict[str, Receiver] = {}
        self.counters: Counter[str] = Counter()
        # Called with the number of a worker when its link is there.
        self.on_joined: Callable[[int], None] = lambda _: None
        # Called with the number of a worker when it is away.
        self.on_left: Callable[[int], None] = lambda _: None
        self._others = [other for other in range(count) if other != number]
        self._folder = data_dir / "run"
        self._links: dict[int, _Wire] = {}
        self._accepted: set[_Wire] = set()
        self._wake = {other: asyncio.Event() for other in self._others}
        self._asked: dict[int, tuple[int, asyncio.Future[msgspec.Raw | None]]] = {}
        self._next_id = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._folder_fd = -1

    @property
    def joined(self) -> list[int]:
        """Workers that can be reached now."""
        return list(self._links)

    async def start(self) -> None:
        """Listen, and dial the others for as long as the bus lives. Raises: OSError.

        On return those that run can be reached from here, and we from them.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        path = self._folder / _name(self.number)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.setblocking(False)
            listener.bind(self._address(self.number))
            path.chmod(0o600)  # before it listens: nobody could have connected
        except BaseException:
            listener.close()
            raise
        self._server = await asyncio.get_running_loop().create_unix_server(self._accept, sock=listener)
        tried = [asyncio.Event() for _ in self._others]
        for other, event in zip(self._others, tried, strict=True):
            self._keep(self._dial(other, event))
        for event in tried:
            await event.wait()
        await self.ask_all(_HELLO, Nothing(), Nothing)

    async def _on_hello(self, worker: int, _: msgspec.Raw) -> Nothing:
        """A worker has started: dial it at once, and answer when that has worked."""
        deadline = asyncio.get_running_loop().time() + _ASK_TIMEOUT_S / 2
        while worker not in self._links and asyncio.get_running_loop().time() < deadline:
            self._wake[worker].set()
            await asyncio.sleep(0.005)
        return Nothing()

    def _accept(self) -> _Wire:
        wire = _Wire(self._on_call, self._accepted.discard)
        self._accepted.add(wire)
        return wire

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in (*self._links.values(), *self._accepted):
            if wire.transport is not None:
                wire.transport.close()
        if self._server is not None:
            self._server.close()
            (self._folder / _name(self.number)).unlink(missing_ok=True)
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1

    def tell(self, worker: int, subject: str, body: object) -> bool:
        """Send without waiting; False, and counted, if that worker is away or does not read."""
        wire = self._links.get(worker)
        if wire is not None and wire.say(self._call(0, subject, body)):
            self.counters["bus.sent"] += 1
            return True
        self.counters["bus.dropped"] += 1
        return False

    def tell_all(self, subject: str, body: object) -> None:
        for worker in self.joined:
            self.tell(worker, subject, body)

    async def ask(
        self, worker: int, subject: str, body: object, type_: type[Message], timeout_s: float | None = None
    ) -> Message | None:
        """The answer; None if that worker is away, goes away or takes too long."""
        wire = self._links.get(worker)
        if wire is None:
            return None
        call_id, self._next_id = self._next_id, self._next_id + 1
        waiting: asyncio.Future[msgspec.Raw | None] = asyncio.get_running_loop().create_future()
        self._asked[call_id] = worker, waiting
        try:
            if not wire.say(self._call(call_id, subject, body)):
                self.counters["bus.dropped"] += 1
                return None
            self.counters["bus.sent"] += 1
            async with asyncio.timeout(timeout_s or _ASK_TIMEOUT_S):
                answer = await waiting
        except TimeoutError:
            log.warning("bus_unanswered", worker=worker, subject=subject)
            answer = None
        finally:
            del self._asked[call_id]
        if answer is None:
            self.counters["bus.unanswered"] += 1
            return None
        return msgspec.msgpack.decode(answer, type=type_)

    async def ask_all(
        self, subject: str, body: object, type_: type[Message], timeout_s: float | None = None
    ) -> list[Message]:
        """The answers of those who answer."""
        answers = await asyncio.gather(*(self.ask(worker, subject, body, type_, timeout_s) for worker in self.joined))
        return [answer for answer in answers if answer is not None]

    def _call(self, call_id: int, subject: str, body: object) -> Call:
        return Call(call_id, self.number, subject, msgspec.Raw(_encode(body)))

    async def _dial(self, other: int, tried: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            lost = asyncio.Event()
            wire = _Wire(self._on_answer, lambda _, event=lost: event.set())  # type: ignore[misc]
            try:
                await loop.create_unix_connection(lambda wire=wire: wire, self._address(other))  # type: ignore[misc]
            except OSError:
                tried.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_REDIAL_S):
                        await self._wake[other].wait()
                self._wake[other].clear()
                continue
            self._links[other] = wire
            tried.set()
            self.on_joined(other)
            await lost.wait()
            del self._links[other]
            for worker, waiting in list(self._asked.values()):
                if worker == other and not waiting.done():
                    waiting.set_result(None)
            self.on_left(other)

    def _on_answer(self, _: _Wire, message: memoryview) -> None:
        answer = _decode_answer(message)
        found = self._asked.get(answer.id)
        if found is not None and not found[1].done():
            found[1].set_result(msgspec.Raw(bytes(answer.body)))

    def _on_call(self, wire: _Wire, message: memoryview) -> None:
        call = _decode_call(bytes(message))
        self.counters["bus.received"] += 1
        receiver = self.receivers.get(call.subject)
        if receiver is not None:
            receiver(call.worker, call.body)
        else:
            self._keep(self._handle(wire, call))

    async def _handle(self, wire: _Wire, call: Call) -> None:
        try:
            answer = await self.handlers[call.subject](call.worker, call.body)
        except Exception:  # an error in one message must not take the link with it
            log.exception("bus_handler_failed", subject=call.subject, worker=call.worker)
            return
        if call.id:
            wire.say(Answer(call.id, msgspec.Raw(_encode(answer))))

    def _keep(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _address(self, worker: int) -> str:
        """Through the folder's descriptor: the path of a socket may have 107 bytes, that of a data folder more."""
        return f"/proc/self/fd/{self._folder_fd}/{_name(worker)}"


def _name(worker: int) -> str:
    return f"ingest-{worker}.bus"
