"""A chunk of frames: who sent what on which topic and when, in one arena of bytes."""

from collections.abc import Callable

ENCODING_NAMES: dict[str, int]
SCOPES: dict[str, int]
REASON_NAMES: tuple[str, ...]

class FrameChunk:
    transport: str
    on_durable: Callable[[FrameChunk], None] | None
    def __init__(self, transport: str, on_durable: Callable[[FrameChunk], None] | None = None) -> None: ...
    def __len__(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def received_ms(self) -> tuple[int, int]: ...
    def add(
        self,
        topic: bytes,
        payload: bytes,
        *,
        sender: int = -1,
        encoding: int = 0,
        scope: int = 0,
        reason: int = 0,
        received_ms: int = 0,
        ack_ref: int = 0,
        is_trusted: bool = False,
    ) -> None: ...
    def ack_refs(self) -> list[int]: ...
