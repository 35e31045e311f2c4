"""What a Sparkplug host application publishes: requests for a rebirth, and its own STATE."""

import json

_REBIRTH = b"Node Control/Rebirth"
_BOOLEAN = 11


def rebirth_topic(node: bytes) -> bytes:
    """The NCMD topic of an edge node, given as `{group}/{edge}`."""
    group, _, edge = node.partition(b"/")
    return b"spBv1.0/" + group + b"/NCMD/" + edge


def rebirth_request(now_ms: int) -> bytes:
    """A Payload whose one metric is `Node Control/Rebirth` = true: by its name, for it never has an alias.

    Source: Sparkplug 3.0, tck-id-operational-behavior-data-commands-ncmd-rebirth-{name,value}.
    """
    stamp = _varint(now_ms)
    # name (1), timestamp (3), datatype (4), boolean_value (14)
    metric = b"\x0a" + bytes([len(_REBIRTH)]) + _REBIRTH + b"\x18" + stamp + b"\x20" + bytes([_BOOLEAN]) + b"\x70\x01"
    return b"\x08" + stamp + b"\x12" + bytes([len(metric)]) + metric


def state_topic(host_id: str) -> bytes:
    return f"spBv1.0/STATE/{host_id}".encode()


def state_payload(is_online: bool, since_ms: int) -> bytes:
    """`since_ms` is the same in a birth and in the will of its connection.

    Source: Sparkplug 3.0, tck-id-host-topic-phid-{birth,death}-payload*.
    """
    return json.dumps({"online": is_online, "timestamp": since_ms}, separators=(",", ":")).encode()


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
