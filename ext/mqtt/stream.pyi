"""One connection's byte stream to whole control packets; the Python face is for tests."""

class PacketSplitter:
    """A stream: `feed(read)` gives the packets that are whole now as (first byte, body, is_cut)."""

    def __init__(self, limit: int) -> None: ...
    @property
    def kept_bytes(self) -> int: ...
    def feed(self, data: bytes) -> list[tuple[int, bytes, bool]]:
        """Raises: ValueError for a stream that cannot go on."""
