"""How the payloads of one device type are decoded, compiled from what the registry says into flat C arrays."""

from typing import Any

def steps_of(path: str) -> list[str | int]: ...

class TypeDecoder:
    def __init__(self, metrics: list[tuple[str, str, str, int]], decoder: Any, default_encoding: str) -> None: ...
