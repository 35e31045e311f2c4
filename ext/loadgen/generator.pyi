"""A load generator that costs little: many MQTT connections in one thread, PUBLISH packets patched from templates."""

from collections.abc import Sequence
from typing import NamedTuple

TIME_NONE: int
TIME_VARINT: int
TIME_DECIMAL: int
TIME_CBOR: int

class Template(NamedTuple):
    client_id: str
    token: str
    packet: bytes
    id_at: int
    time_at: int

class Generator:
    def __init__(
        self,
        host: str,
        port: int,
        templates: Sequence[Template],
        time_kind: int,
        base_ms: int,
        step_ms: int,
        sources: Sequence[str] = (),
    ) -> None: ...
    def connect(self, timeout_s: float, at_once: int = 512) -> float: ...
    def run(self, duration_s: float, window: int, rate: float = 0.0, max_per_link: int = 0) -> dict[str, float]: ...
    def drain(self, timeout_s: float) -> int: ...
    def latencies_us(self) -> dict[float, int]: ...
    def close(self) -> None: ...
    @property
    def sent(self) -> int: ...
    @property
    def acked(self) -> int: ...
