"""MQTT control packets as a server sends them, 3.1.1 and 5.0; the Python face is for tests."""

from typing import Any

def decode(packet: bytes, version: int) -> tuple[int, dict[str, Any]]:
    """Read one whole control packet that a server would send.

    Args:
        packet: fixed header and body, nothing behind it.
        version: 4 (MQTT 3.1.1) or 5.
    Returns: (reason code, facts); the facts are empty unless the reason code is 0.
    Raises: ValueError if `packet` is not exactly one packet by its remaining length.
    """
