"""Retained messages; the Python face is for tests."""

class RetainedTable:
    """Retained messages by topic and payload: for tests."""

    def __init__(self, max_count: int = 1000, max_bytes: int = 1_000_000) -> None: ...
    def put(self, topic: bytes, payload: bytes, expires_ms: int = ...) -> bool:
        """Whether it is kept; one without payload takes away what is."""

    def match(self, filter: bytes) -> dict[bytes, bytes]: ...
    def counts(self) -> tuple[int, int, int]:
        """Messages, their bytes, first levels of topics."""
