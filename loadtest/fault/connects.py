"""MQTT connections by hand, without a client library: one that logs in and looks at the answer."""

import socket
import struct

from loadtest.fault.sequence import varint


def connect_packet(client_id: str, user: str, token: str, version: int = 5) -> bytes:
    """A CONNECT, clean start, no keep alive, without properties; version 4 is MQTT 3.1.1."""
    strings = b"".join(
        struct.pack(">H", len(text)) + text for text in (client_id.encode(), user.encode(), token.encode())
    )
    body = b"\x00\x04MQTT" + bytes((version, 0xC2, 0, 0)) + (b"\x00" if version == 5 else b"") + strings
    return b"\x10" + varint(len(body)) + body


def connect(port: int, user: str, token: str) -> int:
    """The CONNACK's reason code, 0 for success; -1 without a CONNACK."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(connect_packet(user, user, token))
        head = b""
        while len(head) < 4 and (more := link.recv(4 - len(head))):
            head += more
        return head[3] if len(head) == 4 and head[0] == 0x20 else -1
