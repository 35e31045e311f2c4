"""What all connections of one MQTT endpoint share: slots, the chunk being gathered, acks, deliveries, time."""

import asyncio
from collections.abc import Callable

from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex

REASON_NAMES: dict[int, str]

class PublishChunk(FrameChunk):
    """A chunk that also knows which messages between its frames were refused, so that PUBACKs keep their order."""

    def as_tuples(self) -> list[tuple[bytes, bytes, int, int, int, int]]:
        """(topic, payload, sender, encoding, scope, reason) of every frame: for tests."""

class Hub:
    """One per endpoint and event loop; not thread-safe."""

    def __init__(
        self,
        index: DeviceIndex,
        sink: Callable[[FrameChunk], None],
        loop: asyncio.AbstractEventLoop,
        gather_ms: float,
        *,
        max_packet_bytes: int,
        max_connections: int,
        receive_maximum: int,
        connect_timeout_s: float,
        max_keep_alive_s: int,
        on_refused: Callable[[str, bytes, bytes], None] | None = None,
    ) -> None: ...
    @property
    def sockets(self) -> int: ...
    @property
    def paused(self) -> bool: ...
    def start(self) -> None:
        """Start the clock of keep-alives and connect timeouts."""

    def hand_on(self) -> None:
        """Give the current chunk to the sink, if there is anything in it."""

    def acknowledge(self, chunk: FrameChunk) -> None:
        """All frames of the chunk are durable: send their PUBACKs, one write for each connection. At most once."""

    def deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int) -> int:
        """Send a message to the connections that subscribed to it. See MqttEndpoint.deliver."""

    def kick(self, device_id: bytes, reason: int) -> int:
        """Close all connections of a device with a reason code. Returns how many there were."""

    def pause(self) -> None:
        """Stop reading all sockets. One accepted later is paused after its first read."""

    def resume(self) -> None:
        """Read all sockets again, except those whose clients do not read our answers."""

    def stop_reading(self) -> None:
        """Read no more, for good, and hand on what has been read."""

    def leave_all(self, reason: int) -> None:
        """Tell every client why and end our half of its connection."""

    def abort_all(self) -> None:
        """Close what is left, and stop the clock."""

    def counters(self) -> dict[str, int]:
        """Plain numbers since the start, but `connections` and `sockets`, which are now. See MqttEndpoint.counters."""
