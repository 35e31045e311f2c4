"""The HTTP request that opens a WebSocket (RFC 6455 section 4.2) for MQTT: one request line, headers, no body."""

import base64
import binascii
import hashlib

REQUEST_MAX_BYTES = 8_192
PATH = b"/mqtt"
SUBPROTOCOL = b"mqtt"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASONS = {400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed", 426: b"Upgrade Required",
            431: b"Request Header Fields Too Large", 505: b"HTTP Version Not Supported"}  # fmt: skip


class RefusedError(Exception):
    """The request is not answered with a WebSocket; `answer` is what the client gets."""

    def __init__(self, status: int, text: str, *headers: bytes) -> None:
        super().__init__(text)
        body = text.encode() + b"\n"
        self.status = status
        self.answer = b"\r\n".join(
            (
                b"HTTP/1.1 %d %s" % (status, _REASONS[status]),
                *headers,
                b"Content-Type: text/plain; charset=utf-8",
                b"Content-Length: %d" % len(body),
                b"Connection: close",
                b"",
                body,
            )
        )


def too_large() -> RefusedError:
    """What a request without an end gets."""
    return RefusedError(431, f"more than {REQUEST_MAX_BYTES} bytes of request line and headers")


def accept(request: bytes) -> bytes:
    """The answer 101 to a request that ends with its empty line. Raises: RefusedError."""
    first, *lines = request[:-4].split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or not parts[2].startswith(b"HTTP/"):
        raise RefusedError(400, "not an HTTP request")
    method, target, version = parts
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise RefusedError(400, "a header line without a name")
        name = name.lower()
        headers[name] = headers[name] + b"," + value.strip() if name in headers else value.strip()
    if version != b"HTTP/1.1":
        raise RefusedError(505, "a WebSocket needs HTTP/1.1")
    if target.partition(b"?")[0] != PATH:
        raise RefusedError(404, f"MQTT over WebSocket is at {PATH.decode()}")
    if method != b"GET":
        raise RefusedError(405, "a WebSocket is opened with GET", b"Allow: GET")
    if b"websocket" not in _tokens(headers, b"upgrade") or b"upgrade" not in _tokens(headers, b"connection"):
        raise RefusedError(
            426, "this is a WebSocket endpoint: send Upgrade: websocket and Connection: Upgrade", b"Upgrade: websocket"
        )
    if headers.get(b"sec-websocket-version") != b"13":
        raise RefusedError(426, "WebSocket version 13 is spoken here", b"Sec-WebSocket-Version: 13")
    if not headers.get(b"host"):
        raise RefusedError(400, "no Host header")
    if b"content-length" in headers or b"transfer-encoding" in headers:
        raise RefusedError(400, "the request must have no body")
    key = headers.get(b"sec-websocket-key", b"")
    if not _is_key(key):
        raise RefusedError(400, "Sec-WebSocket-Key: 16 bytes in base64")
    if SUBPROTOCOL not in _tokens(headers, b"sec-websocket-protocol"):
        raise RefusedError(400, "Sec-WebSocket-Protocol: mqtt")
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n"
        b"Sec-WebSocket-Protocol: " + SUBPROTOCOL + b"\r\n\r\n"
    )


def _tokens(headers: dict[bytes, bytes], name: bytes) -> list[bytes]:
    return [token.strip().lower() for token in headers.get(name, b"").split(b",")]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False
