"""The cutting proxy: stands before the store, a broker or an endpoint, and breaks what goes through when told to."""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Kind = Literal["pass", "refuse", "cut", "answer", "reset", "swallow", "stall", "throttle", "delay"]
T = TypeVar("T")

_PIECE_BYTES = 16_384
_HEAD_BYTES = 1 << 20
_LINGER_OFF = struct.pack("ii", 1, 0)  # close() sends RST
_INTERNAL_ERROR = b"Code: 1000. DB::Exception: the proxy answers instead of the store. (POCO_EXCEPTION)\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request (`http`) or to a connection's bytes (plain TCP).

    pass      nothing
    refuse    the port is closed, connections are reset
    cut       reset after `after_bytes` of a request's body, or of what a TCP client sent
    answer    the whole request goes through, then `status` and `body` come back instead of the answer (HTTP only)
    reset     the whole request goes through, then the connection is reset instead of the answer;
              TCP: reset at the first bytes that come back
    swallow   the whole request goes through, no answer comes; TCP: nothing comes back
    stall     nothing goes through in either direction, the connection stays open
    throttle  `bytes_per_s` in each direction, all connections together
    delay     each request, or each piece of a TCP connection, waits `delay_s`

    `times`: to so many requests, then `pass`; 0: until another one is set. `match`: only to requests with these bytes
    in their head; that of an insert by ingest has `insert_deduplication_token=<segment>-<table>`. Both are for HTTP.
    """

    kind: Kind = "pass"
    after_bytes: int = 0
    bytes_per_s: float = 0.0
    delay_s: float = 0.0
    status: int = 500
    body: bytes = _INTERNAL_ERROR
    times: int = 0
    match: bytes = b""


PASS = Fault()


class ResetError(Exception):
    """The connection is to be reset now."""


class Proxy:
    """Listens on a free port of the loopback interface and forwards to `target`, which may be changed at any time.

    `counts`: connections, requests (HTTP), up_bytes and down_bytes, and how often each kind of fault was done. For
    `answer`, `reset` and `swallow` a request is counted after its own answer came, so that its work is done by then.
    """

    def __init__(self, target: tuple[str, int], *, http: bool = True) -> None:
        self.target = target
        self.port = 0
        self.counts: Counter[str] = Counter()
        self._http = http
        self._fault = PASS
        self._left = 0
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._free_at = {"up": 0.0, "down": 0.0}

    @property
    def fault(self) -> Fault:
        return self._fault

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_HEAD_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def switch(self, fault: Fault) -> None:
        """From now on this one. Connections that the fault before held (stall, swallow) are reset."""
        self._fault, self._left = fault, fault.times
        self._free_at = {"up": 0.0, "down": 0.0}
        self._changed.set()
        self._changed = asyncio.Event()
        if fault.kind == "refuse":
            self.counts["refuse"] += 1
            await self._close()
        elif self._server is None:
            await self.start()

    async def reset_all(self) -> None:
        """Reset every open connection; new ones are served."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.reset_all()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await (self._serve_http if self._http else self._serve_tcp)(reader, writer)
        except (ResetError, OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            _reset(writer)
        else:
            writer.close()

    # HTTP

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as exc:
                if exc.partial:
                    raise ResetError from None
                return
            self.counts["requests"] += 1
            fault = self._take_fault(head)
            if fault.kind == "stall":
                await self._hold(fault)
            if fault.kind == "delay":
                self.counts["delay"] += 1
                await asyncio.sleep(fault.delay_s)
            up_reader, up_writer = await asyncio.open_connection(*self.target, limit=_HEAD_BYTES)
            try:
                await self._exchange(head, fault, reader, writer, up_reader, up_writer)
            finally:
                up_writer.close()

    def _take_fault(self, head: bytes) -> Fault:
        fault = self._fault
        if fault.match not in head:
            return PASS
        if fault.times:
            if self._left == 0:
                return PASS
            self._left -= 1
        return fault

    async def _exchange(
        self,
        head: bytes,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        up_writer.write(head)
        room = fault.after_bytes if fault.kind == "cut" else None
        sending = asyncio.create_task(self._copy_body(head, reader, up_writer, "up", room))
        try:
            if fault.kind in ("pass", "throttle", "delay"):
                await self._copy_answer(head, up_reader, writer)
                if not sending.done():  # answered before the request was read: the connection cannot go on
                    raise ResetError
            elif fault.kind == "cut":
                await sending
                raise ResetError  # a body shorter than the cut
            else:
                await sending
                await self._copy_answer(head, up_reader, None)
                self.counts[fault.kind] += 1
                if fault.kind == "reset":
                    raise ResetError
                if fault.kind == "swallow":
                    await self._hold(fault, is_counted=True)
                writer.write(
                    b"HTTP/1.1 %d Fault\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
                    % (fault.status, len(fault.body), fault.body)
                )
                await writer.drain()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            if room is not None:
                self.counts["cut"] += 1

    async def _copy_answer(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if writer is not None:
                writer.write(head)
            if not head.startswith(b"HTTP/1.1 1"):  # 100 Continue
                break
        status = head.split(b" ", 2)[1]
        if status in (b"204", b"304") or request.startswith(b"HEAD "):
            return
        if _header(head, b"content-length") is None and _header(head, b"transfer-encoding") is None:
            raise ResetError  # ends with the connection; nobody here answers so
        await self._copy_body(head, reader, writer, "down", None)

    async def _copy_body(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter | None,
        way: str,
        room: int | None,
    ) -> None:
        """As long as the head says. Raises ResetError once `room` bytes went through."""
        if (_header(head, b"transfer-encoding") or b"").lower() == b"chunked":
            size = -1
            while size != 0:
                line = await reader.readuntil(b"\r\n")
                size = int(line.split(b";")[0], 16)
                if writer is not None:
                    writer.write(line)
                room = await self._copy(size + 2, reader, writer, way, room)
        else:
            await self._copy(int(_header(head, b"content-length") or 0), reader, writer, way, room)

    async def _copy(
        self, size: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None, way: str, room: int | None
    ) -> int | None:
        while size > 0:
            if room == 0:
                raise ResetError
            piece = await reader.read(min(size, _PIECE_BYTES, _PIECE_BYTES if room is None else room))
            if not piece:
                raise ResetError
            size -= len(piece)
            if room is not None:
                room -= len(piece)
            await self._pace(way, len(piece))
            if writer is not None:
                writer.write(piece)
                await writer.drain()
        return room

    # plain TCP

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self.target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, up_writer, "up"))
                both.create_task(self._pump(up_reader, writer, "down"))
        except* (ResetError, OSError):
            raise ResetError from None
        finally:
            up_writer.close()  # not reset: what was let through is to be read

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        sent = 0
        while piece := await reader.read(_PIECE_BYTES):
            fault = self._fault
            if fault.kind == "stall":
                await self._hold(fault)
            if fault.kind == "cut" and way == "up" and sent + len(piece) > fault.after_bytes:
                writer.write(piece[: max(0, fault.after_bytes - sent)])
                await writer.drain()
                self.counts["cut"] += 1
                raise ResetError
            if fault.kind == "reset" and way == "down":
                self.counts["reset"] += 1
                raise ResetError
            if fault.kind == "delay":
                self.counts["delay"] += 1
                await asyncio.sleep(fault.delay_s)
            await self._pace(way, len(piece))
            sent += len(piece)
            if fault.kind == "swallow" and way == "down":
                self.counts["swallow"] += 1
                continue
            writer.write(piece)
            await writer.drain()
        with contextlib.suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()

    # both

    async def _hold(self, fault: Fault, *, is_counted: bool = False) -> None:
        """Until another fault is set, then the connection is reset."""
        if not is_counted:
            self.counts[fault.kind] += 1
        if self._fault is fault:
            await self._changed.wait()
        raise ResetError

    async def _pace(self, way: str, size: int) -> None:
        self.counts[f"{way}_bytes"] += size
        fault = self._fault
        while fault.kind == "stall" and self._http and not fault.match:  # in the middle of a request
            await self._hold(fault)
        if fault.kind == "throttle":
            at = max(time.monotonic(), self._free_at[way])
            self._free_at[way] = at + size / fault.bytes_per_s
            # Another fault ends the wait: what waits in line then goes at once.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._free_at[way] - time.monotonic()):
                    await self._changed.wait()


class ThreadedProxy:
    """A proxy with a loop of its own, for callers that have none: the same methods, not to be awaited."""

    def __init__(self, target: tuple[str, int], *, http: bool = True) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._proxy = Proxy(target, http=http)
        self._run(self._proxy.start())

    @property
    def port(self) -> int:
        return self._proxy.port

    @property
    def url(self) -> str:
        return self._proxy.url

    @property
    def counts(self) -> Counter[str]:
        return self._proxy.counts

    @property
    def target(self) -> tuple[str, int]:
        return self._proxy.target

    @target.setter
    def target(self, target: tuple[str, int]) -> None:
        self._proxy.target = target

    def switch(self, fault: Fault) -> None:
        self._run(self._proxy.switch(fault))

    def reset_all(self) -> None:
        self._run(self._proxy.reset_all())

    def close(self) -> None:
        self._run(self._proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(30)


@contextlib.contextmanager
def proxy_before(target: tuple[str, int], *, http: bool = True) -> Iterator[ThreadedProxy]:
    """`with proxy_before((host, port)) as proxy: ... proxy.switch(Fault("swallow"))`"""
    proxy = ThreadedProxy(target, http=http)
    try:
        yield proxy
    finally:
        proxy.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.transport.is_closing():
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
    writer.transport.abort()


def _header(head: bytes, name: bytes) -> bytes | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None
