"""What Sparkplug edge nodes have announced, and what is known of their messages: births, aliases, sequence numbers."""

from typing import Any

class Births:
    held_bytes: int
    needs_snapshot: bool
    journal: list[bytes]
    nodes: int
    devices: int
    born_nodes: int
    born_devices: int
    births_kept: int
    births_refused: int
    evicted: int
    deaths: int
    deaths_ignored: int
    gaps: int
    missing: int
    late: int
    repeated: int
    rebirths_requested: int
    rebirths_suppressed: int
    events_dropped: int
    damaged: int
    def __init__(self, max_bytes: int = 64_000_000, max_of_sender: int = 4096) -> None: ...
    def __len__(self) -> int: ...
    def rebirths_due(
        self, now_ms: int, reorder_ms: int, interval_ms: int, longest_ms: int, limit: int
    ) -> list[tuple[int, bytes, int]]: ...
    def doubt(self, owner: int) -> int: ...
    def take_events(self) -> list[tuple[str, int, bytes, int]]: ...
    def known(self, owner: int, key: bytes) -> dict[str, Any] | None: ...
    def take_journal(self) -> bytes: ...
    def snapshot(self) -> bytes: ...
    def load(self, data: bytes) -> int: ...
