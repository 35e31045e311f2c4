"""Answers: the result of one query from the engine's pipe to the client's socket."""

import asyncio
import fcntl
import os
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from store.embedded import compression, errors, formats

_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
BUFFER_BYTES = 1 << 20
_OFF_LOOP_BYTES = 64 << 10  # compressing more than this would hold up the loop


@dataclass(slots=True)
class Outcome:
    """What the engine counted."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    @staticmethod
    def of(result: Any) -> "Outcome":
        return Outcome(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=result.bytes_read(),
        )

    def summary(self, started: float) -> str:
        """The X-ClickHouse-Summary header: numbers as strings, as ClickHouse writes them."""
        fields = {name: str(getattr(self, name)) for name in self.__slots__}
        fields["total_rows_to_read"] = fields["read_rows"]
        fields["elapsed_ns"] = str(int((time.monotonic() - started) * 1e9))
        return msgspec.json.encode(fields).decode()


class Pipe:
    """The engine writes into one end, the loop reads from the other; a full pipe makes the engine wait."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(self.reader, _F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self.reader, False)

    @property
    def path(self) -> str:
        """Where the engine's INTO OUTFILE finds the writing end."""
        return f"/proc/self/fd/{self.writer}"

    async def read(self, size: int) -> bytes:
        """Some bytes; b"" when every writing end is closed."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.read(self.reader, size)
            except BlockingIOError:
                readable = loop.create_future()
                loop.add_reader(self.reader, _wake, readable)
                try:
                    await readable
                finally:
                    loop.remove_reader(self.reader)

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every answer to one request carries."""

    query_id: str
    server: str
    version: str
    encoding: str
    zlib_level: int
    started: float

    def headers(self, output_format: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self.server,
            "X-ClickHouse-Query-Id": self.query_id,
            "X-ClickHouse-Timezone": "UTC",
            "X-ClickHouse-Format": output_format,
            "Content-Type": formats.content_type(output_format),
        }

    def whole(self, body: bytes, output_format: str, outcome: Outcome) -> web.Response:
        headers = self.headers(output_format) | {"X-ClickHouse-Summary": outcome.summary(self.started)}
        if self.encoding and body:
            codec = compression.encoder(self.encoding, self.zlib_level)
            body = codec.encode(body) + codec.finish()
            headers["Content-Encoding"] = self.encoding
        return web.Response(body=body, headers=headers)

    def failure(self, error: errors.StoreError) -> web.Response:
        headers = self.headers("") | {
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Summary": Outcome().summary(self.started),
            "Content-Type": "text/plain; charset=UTF-8",
        }
        del headers["X-ClickHouse-Format"]
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        text = errors.with_version(str(error), self.version) + "\n"
        return web.Response(status=error.status, text=text, headers=headers)


class StreamedAnswer:
    """An answer whose end is not known when it begins."""

    def __init__(self, request: web.Request, envelope: Envelope, output_format: str, send_timeout_s: float) -> None:
        headers = envelope.headers(output_format) | {"X-ClickHouse-Summary": Outcome().summary(envelope.started)}
        self._tag = os.urandom(8).hex()
        headers["X-ClickHouse-Exception-Tag"] = self._tag
        self._codec = compression.encoder(envelope.encoding, envelope.zlib_level) if envelope.encoding else None
        if envelope.encoding:
            headers["Content-Encoding"] = envelope.encoding
        self._envelope = envelope
        self._request = request
        self._timeout_s = send_timeout_s
        self.response = web.StreamResponse(headers=headers)
        self.response.enable_chunked_encoding()

    async def begin(self) -> None:
        await self.response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Raises TimeoutError if the client does not take the data."""
        if self._codec is not None:
            if len(data) > _OFF_LOOP_BYTES:
                data = await asyncio.to_thread(self._codec.encode, data)
            else:
                data = self._codec.encode(data)
        if data:
            async with asyncio.timeout(self._timeout_s):
                await self.response.write(data)

    async def end(self) -> None:
        if self._codec is not None:
            await self.response.write(self._codec.finish())
        await self.response.write_eof()

    async def fail(self, error: errors.StoreError) -> None:
        """Append the error as ClickHouse does, and break the connection so that nobody takes the rest for complete."""
        message = errors.with_version(str(error), self._envelope.version) + "\n"
        block = f"\r\n__exception__\r\n{self._tag}\r\n{message}{len(message.encode())} {self._tag}\r\n__exception__\r\n"
        await self.write(block.encode())
        if self._codec is not None:
            await self.response.write(self._codec.finish())
        self.response.force_close()
        if self._request.transport is not None:
            self._request.transport.close()
