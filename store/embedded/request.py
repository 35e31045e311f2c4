"""One request of ClickHouse's HTTP interface, taken apart."""

import asyncio
import base64
import binascii
import re
import uuid
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from store.embedded import compression, errors

# URL parameters that are the interface's own, not settings (src/Server/HTTPHandler.cpp).
_OWN = frozenset(
    {
        "query", "database", "default_format", "query_id", "user", "password", "quota_key", "stacktrace", "role",
        "session_id", "session_timeout", "session_check", "close_session", "buffer_size", "wait_end_of_query",
        "compress", "decompress", "client_protocol_version", "http_response_buffer_size", "http_wait_end_of_query",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
STATEMENT_BYTES_MAX = 1 << 20
_OFF_LOOP_BYTES = 64 << 10


@dataclass(slots=True)
class Call:
    """What a request asks for; the body is still to be read."""

    user: str
    password: str
    query: str
    database: str
    default_format: str
    query_id: str
    settings: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    is_get: bool = False
    waits_for_end: bool = False
    answer_encoding: str = ""
    zlib_level: int = 3


async def read_call(request: web.Request) -> Call:
    """Raises StoreError for what the interface does not offer."""
    values: dict[str, str] = dict(request.query)
    query = values.get("query", "")
    if request.content_type == "multipart/form-data":
        for name, value in (await _form(request)).items():
            if name == "query":
                query += value
            else:
                values[name] = value
    for name in ("compress", "decompress"):
        if values.get(name, "0") not in ("0", "false"):
            raise errors.refused(
                48, f"{name}=1 is not offered here; use Content-Encoding and Accept-Encoding", "NOT_IMPLEMENTED"
            )
    if values.get("role"):
        raise errors.refused(511, f"There is no role `{values['role']}`", "UNKNOWN_ROLE")
    user, password = _credentials(request, values)
    call = Call(
        user=user,
        password=password,
        query=query,
        database=request.headers.get("X-ClickHouse-Database") or values.get("database", ""),
        default_format=request.headers.get("X-ClickHouse-Format") or values.get("default_format", ""),
        query_id=values.get("query_id") or request.headers.get("X-ClickHouse-Query-Id") or str(uuid.uuid4()),
        is_get=request.method in ("GET", "HEAD"),
        waits_for_end=values.get("wait_end_of_query", "0") not in ("0", "false")
        or values.get("http_wait_end_of_query", "0") not in ("0", "false"),
    )
    # These become part of statements of ours.
    if call.default_format and not _NAME.fullmatch(call.default_format):
        raise errors.refused(73, f"Unknown format {call.default_format!a}", "UNKNOWN_FORMAT")
    if not call.query_id.isprintable() or len(call.query_id) > 200:
        raise errors.refused(36, "query_id: up to 200 printable characters", "BAD_ARGUMENTS")
    for name, value in values.items():
        if name.startswith("param_"):
            if not _NAME.fullmatch(name):
                raise errors.refused(36, f"Query parameter {name!a} has a bad name", "BAD_ARGUMENTS")
            call.params[name.removeprefix("param_")] = value
        elif name not in _OWN:
            if not _NAME.fullmatch(name):
                raise errors.refused(115, f"Unknown setting '{name}'", "UNKNOWN_SETTING")
            call.settings[name] = value
    if call.settings.get("enable_http_compression", "0") not in ("0", "false"):
        call.answer_encoding = compression.choose(request.headers.get("Accept-Encoding", ""))
        level = call.settings.get("http_zlib_compression_level", "3")
        call.zlib_level = int(level) if level.isdecimal() and 1 <= int(level) <= 9 else 3
    return call


async def _form(request: web.Request) -> dict[str, str]:
    """Fields of a multipart form; nothing of it goes to disk."""
    fields: dict[str, str] = {}
    total = 0
    try:
        parts = await request.multipart()
        while (part := await parts.next()) is not None:
            name = getattr(part, "name", None)
            if not isinstance(part, BodyPartReader) or name is None:
                raise errors.refused(48, "A form's parts need names", "NOT_IMPLEMENTED")
            if part.filename is not None or name.endswith(("_structure", "_types", "_format")):
                raise errors.refused(48, "External tables in the request are not offered here", "NOT_IMPLEMENTED")
            value = b""
            while chunk := await part.read_chunk():
                value += chunk
                total += len(chunk)
                if total > STATEMENT_BYTES_MAX:
                    raise errors.refused(307, "The form is too large", "TOO_MANY_BYTES")
            fields[name] = value.decode("utf-8", errors="surrogateescape")
    except (ValueError, AssertionError) as exc:
        raise errors.refused(36, f"The form cannot be read: {exc}", "BAD_ARGUMENTS") from exc
    return fields


def _credentials(request: web.Request, values: dict[str, str]) -> tuple[str, str]:
    headers = request.headers
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", ""), headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as exc:
            raise errors.refused(516, "Invalid Authorization header", "AUTHENTICATION_FAILED") from exc
        return user, password
    return values.get("user", ""), values.get("password", "")


class Body:
    """The request's body, decompressed, as a stream; `push_back` returns what was read too much."""

    def __init__(self, request: web.Request, max_bytes: int, timeout_s: float) -> None:
        encoding = "" if request.content_type == "multipart/form-data" else request.headers.get("Content-Encoding", "")
        self._content = request.content if request.content_type != "multipart/form-data" else None
        self._decoder = compression.decoder(encoding)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._read_bytes = 0
        self._back = b""
        self._ended = False

    def push_back(self, data: bytes) -> None:
        self._back = data + self._back

    async def _read_encoded(self) -> bytes:
        """What has arrived; b"" at the end. Raises StoreError above the limit, or if nothing comes any more."""
        if self._content is None:
            return b""
        try:
            async with asyncio.timeout(self._timeout_s):
                data = await self._content.readany()
        except TimeoutError as exc:
            raise errors.refused(209, f"No data for {self._timeout_s:g} s", "SOCKET_TIMEOUT") from exc
        self._read_bytes += len(data)
        if self._read_bytes > self._max_bytes:
            raise errors.refused(307, f"The body is larger than {self._max_bytes} bytes", "TOO_MANY_BYTES")
        return data

    async def read(self) -> bytes:
        """Some decoded bytes; b"" at the end. Raises StoreError for a broken encoding."""
        if self._back:
            data, self._back = self._back, b""
            return data
        while not self._ended:
            raw = await self._read_encoded()
            if not raw:
                self._ended = True
                self._decoder.finish()
                return b""
            # Decoding a large piece would hold up the loop.
            is_large = len(raw) > _OFF_LOOP_BYTES and not isinstance(self._decoder, compression.Plain)
            data = await asyncio.to_thread(self._decoder.decode, raw) if is_large else self._decoder.decode(raw)
            if data:
                return data
        return b""

    async def read_head(self, size: int) -> tuple[bytes, bool]:
        """Up to about `size` bytes from the start, and whether that was all."""
        parts: list[bytes] = []
        total = 0
        while total < size:
            data = await self.read()
            if not data:
                return b"".join(parts), True
            parts.append(data)
            total += len(data)
        return b"".join(parts), False
