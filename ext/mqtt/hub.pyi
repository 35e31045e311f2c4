"""What all connections of one MQTT endpoint share: slots, the chunk being gathered, acks, time."""

import asyncio
from collections.abc import Callable

from ext.mqtt.connection import Connection
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota

REASON_NAMES: dict[int, str]
# Counters that say how many there are now.
NOW: frozenset[str]
# Who is held back: pause(), resume(), refuse(). Bits.
GATEWAYS: int
DEVICES: int
EVERYBODY: int

class PublishChunk(FrameChunk):
    """A chunk that also knows which messages between its frames were answered without one: acks keep their order."""

    def as_tuples(self) -> list[tuple[bytes, bytes, int, int, int, int]]:
        """(topic, payload, sender, encoding, scope, reason) of every frame: for tests."""

class Hub:
    """One per endpoint and event loop; not thread-safe."""

    on_coming: Callable[[Connection, bytes], None] | None

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
        max_sessions: int = 100_000,
        max_session_expiry_s: int = 86_400,
        max_subscriptions: int = 1_000,
        max_retained: int = 100_000,
        max_retained_bytes: int = 64_000_000,
        max_retained_of_device: int = 1_000,
        queue_messages: int = 1_000,
        queue_bytes: int = 1_000_000,
        total_queue_bytes: int = 256_000_000,
        outbound_window: int = 1_024,
        topic_aliases_out: int = 32,
        quota: Quota | None = None,
        max_partial_bytes: int = 64_000_000,
        states: DeviceStates | None = None,
    ) -> None: ...
    @property
    def sockets(self) -> int: ...
    @property
    def kept_bytes(self) -> int:
        """Of packets whose end has not come."""
    def start(self) -> None:
        """Start the clock of keep-alives and connect timeouts."""

    def hand_on(self) -> None:
        """Give the current chunk to the sink, if there is anything in it."""

    def acknowledge(self, chunk: FrameChunk) -> None:
        """All frames of the chunk are durable: send their acks, one write each connection. At most once."""

    def deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> int:
        """Publish a downlink message of a device. See MqttEndpoint.deliver."""

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        expiry_s: int | None = None,
    ) -> int:
        """Publish a message of the platform's own. See MqttEndpoint.publish."""

    def kick(self, user_name: bytes, reason: int) -> int:
        """Close all connections of a device or an operator with a reason code. Returns how many there were."""

    def export_session(self, key: bytes) -> bytes | None:
        """Give a client's session away: it has come back on another worker.

        Args:
            key: user name, a zero byte, client id.
        Returns: the session for import_session() there; None if there is none that outlives its connection. A
            connection that is open ends with 0x8E; its will is sent if it has no delay.
        """

    def import_session(self, data: bytes) -> bool:
        """Take a session that another worker gave away, as that of a client who is away. False: its user is unknown."""

    def set_remote_filters(self, filters: list[bytes]) -> None:
        """What is subscribed on other workers, `$share/...` included. Takes the place of the list before."""

    def announce(
        self,
        on_publish_remote: Callable[[bytes, bytes, int, bool, bytes, int | None, bool, list[bytes]], None],
        local_filters_changed: Callable[[list[bytes]], None],
    ) -> None:
        """Begin to tell other workers. Both are called in this loop. Call it before the first client comes.

        Args:
            on_publish_remote: (topic, payload, qos, retain, properties, expiry_s or None, is_wanted, groups) for a
                message that others want: `is_wanted` if one of the remote filters without `$share/` matches; `groups`
                are filters `$share/...` of which it is another worker's turn: each is to be given to one worker. With
                `retain` it is for all workers. Never for what came by publish_local() or deliver().
            local_filters_changed: (filters) after the set of filters here has changed, a little later. Those of single
                devices' downlinks are told as `cf/v1/d/+/...`, so that they are few.
        """

    def publish_local(
        self,
        topic: bytes,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: bytes = b"",
        expiry_s: int | None = None,
        is_wanted: bool = True,
        groups: list[bytes] | None = None,
    ) -> int:
        """Deliver what another worker published. Arguments and sense as in announce()."""

    def retained_messages(self) -> list[tuple[bytes, bytes, int, bytes, int | None]]:
        """(topic, payload, qos, properties, expiry_s or None) of all that is retained: for a worker that starts."""

    def pause(self, traffic: int = ...) -> None:
        """Stop reading GATEWAYS, DEVICES or both (the default). One that comes later is paused after its CONNECT."""

    def resume(self, traffic: int = ...) -> None:
        """Read them again, except those whose clients do not read our answers or are over their quota."""

    def refuse(self, traffic: int) -> None:
        """Let in no more of GATEWAYS, DEVICES or both, until the next call: CONNACK 0x89. Operators are let in."""

    def stop_reading(self) -> None:
        """Read no more, for good, and hand on what has been read."""

    def leave_all(self, reason: int) -> None:
        """Tell every client why and end our half of its connection."""

    def abort_all(self) -> None:
        """Close what is left, and stop the clock."""

    def counters(self) -> dict[str, int]:
        """Plain numbers since the start, but those of NOW. See MqttEndpoint.counters."""
