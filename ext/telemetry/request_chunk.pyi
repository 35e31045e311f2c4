"""Requests of gRPC streams to frames: their sequences are read here, the batches inside stay bytes."""

from collections.abc import Callable
from typing import Any

from ext.telemetry.frames import FrameChunk

class SequenceError(ValueError):
    """A sequence that is not above the one before."""

class RequestStream:
    sender: int
    received: int
    durable: int
    requests: int
    def __init__(self, sender: int) -> None: ...

class RequestChunk(FrameChunk):
    def __init__(self, transport: str, on_durable: Callable[[FrameChunk], None] | None = None) -> None: ...
    def take(self, stream: RequestStream, request: bytes) -> None: ...
    def settle(self) -> list[Any]: ...

def split_publish_request(request: bytes) -> tuple[int, int, int]: ...
