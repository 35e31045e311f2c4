"""Where a call comes from."""

from typing import Any
from urllib.parse import unquote


def peer_of(context: Any) -> str:
    """The caller's address as HOST:PORT, or as gRPC has it if it has no port."""
    scheme, colon, address = str(context.peer()).partition(":")
    return unquote(address) if colon and scheme in ("ipv4", "ipv6") else f"{scheme}{colon}{address}"
