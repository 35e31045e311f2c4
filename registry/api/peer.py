"""Where a call comes from."""

import hmac
import secrets
from typing import Any
from urllib.parse import unquote

KEY = "cityfleet-forwarded"


class Forwarding:
    """Calls over HTTP reach gRPC by way of this process: here they say whom they are for, and prove that it is they.

    Who sends the key without the proof, which is made anew at each start and never leaves the process, is not believed.
    """

    def __init__(self) -> None:
        self._proof = secrets.token_urlsafe(24)

    def entry(self, peer: str) -> tuple[str, str]:
        """For the metadata of a call. Args: peer: printable ASCII."""
        return KEY, f"{self._proof} {peer}"

    def peer_of(self, context: Any) -> str:
        """The caller's address as HOST:PORT, or as gRPC has it if it has no port."""
        for key, value in context.invocation_metadata() or ():
            if key == KEY:
                proof, _, peer = str(value).partition(" ")
                if hmac.compare_digest(proof.encode(), self._proof.encode()):
                    return peer
        scheme, colon, address = str(context.peer()).partition(":")
        return unquote(address) if colon and scheme in ("ipv4", "ipv6") else f"{scheme}{colon}{address}"
