"""Who wants which topics; the Python face is for tests."""

class FilterTable:
    """Subscriptions of sessions that are only names: for tests."""

    def add(self, name: bytes, filter: bytes, qos: int = 0, identifier: int = 0) -> bool:
        """Whether the filter is valid. A name may have each filter once."""

    def remove(self, name: bytes, filter: bytes) -> None: ...
    def match(self, topic: bytes) -> dict[bytes, tuple[int, tuple[int, ...]] | list[bytes]]:
        """name -> (QoS, identifiers) of those who get the topic, and `$share/{group}` -> names of its members."""

    def counts(self) -> tuple[int, int, int, int]:
        """Subscriptions; of them those that may match telemetry; filters without wildcards; nodes below the root."""
