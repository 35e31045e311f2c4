"""Settings of the ingest role."""

from typing import Literal

import msgspec

from runtime.settings import ListenSettings, Nice


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """MQTT over TLS, and the certificate that secure WebSockets use too. Changed files are taken up as they change."""

    enabled: bool = False
    # Empty: the host of plain MQTT.
    host: str = ""
    port: int = 8883
    # PEM: the server's certificate, then the intermediate ones.
    cert_file: str = ""
    # Empty: the key is in cert_file.
    key_file: str = ""
    # Clients must show a certificate of one of these authorities, beside their token. Empty: they need none.
    client_ca_file: str = ""


class WebSocketSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """MQTT over WebSocket, at the path /mqtt."""

    enabled: bool = False
    host: str = ""
    port: int = 8083


class SecureWebSocketSettings(WebSocketSettings, frozen=True, forbid_unknown_fields=True):
    """The same over TLS, with the certificate of `ingest.mqtt.tls`."""

    port: int = 8084


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our own MQTT endpoint."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 1883
    tls: TlsSettings = TlsSettings()
    websocket: WebSocketSettings = WebSocketSettings()
    websocket_tls: SecureWebSocketSettings = SecureWebSocketSettings()
    # Clients served a second, all listeners together; more wait their turn, in the order in which they came.
    max_connects_per_s: float = 2_000.0
    max_packet_bytes: int = 262_144
    max_connections: int = 50_000
    receive_maximum: int = 65_535
    # A client that has not sent a whole CONNECT by then is closed, TLS handshake and HTTP request included. Its time
    # begins when it is served, not while it waits its turn.
    connect_timeout_s: float = 10.0
    # Used where a client asks for none, and the most it may ask for (MQTT 5: sent as Server Keep Alive).
    max_keep_alive_s: int = 1_200
    # Sessions that outlive their connection: how many, and for how long at most. MQTT 5 clients are told.
    max_sessions: int = 100_000
    max_session_expiry_s: int = 86_400
    # Of one session.
    max_subscriptions: int = 1_000
    # Messages at QoS 1 and 2 that wait for one client; with those under way their bytes, and the bytes of all clients
    # together. The newest is refused.
    queue_messages: int = 1_000
    queue_bytes: int = 1_000_000
    total_queue_bytes: int = 256_000_000
    # Unacknowledged messages under way to one client, whatever more it would take.
    outbound_window: int = 1_024
    topic_aliases_out: int = 32
    max_retained: int = 100_000
    max_retained_bytes: int = 64_000_000
    # Of one device or gateway.
    max_retained_of_device: int = 1_000


class GrpcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 50052
    max_message_bytes: int = 4_194_304
    # Bytes that a stream may be ahead of what we have read of it.
    window_bytes: int = 262_144
    max_streams: int = 10_000
    max_streams_per_device: int = 8
    max_streams_per_connection: int = 100
    # A connection that is silent for so long is pinged, and closed without an answer in time.
    keepalive_s: float = 60.0
    keepalive_timeout_s: float = 20.0


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An external broker to consume from; no host: none. docs/broker.md says what to set on the broker's side."""

    host: str = ""
    port: int = 1883
    username: str = ""
    password: str = ""
    # A file whose text is the password; it comes before `password`.
    password_file: str = ""
    # Stable, and different for every ingest node: a connection's own is `{client_id}-{number}`.
    client_id: str = "cityfleet-ingest-1"
    # Empty: not shared, one connection only; then no second ingest node may consume from the same broker.
    share_group: str = "cityfleet"
    filters: tuple[str, ...] = ("cf/v1/d/+/telemetry/#", "cf/v1/g/+/telemetry/#", "cf/v1/d/+/state")
    # The highest QoS at which messages are wanted, 0 to 2.
    qos: int = 1
    connections: int = 2
    keep_alive_s: int = 30
    connect_timeout_s: float = 10.0
    # How long the broker keeps our session and what is queued in it while we are away.
    session_expiry_s: int = 300
    # A connection that had messages and then has none for so long is made anew; 0: never.
    stall_timeout_s: float = 300.0
    # A connection whose messages have not become durable for so long is given up until they are; 0: never.
    ack_timeout_s: float = 60.0
    # Larger messages go to quarantine, cut to this.
    max_packet_bytes: int = 1_048_576
    # Frames wait at most this long for company; longer than of our own endpoint, for a broker writes one by one.
    gather_ms: float = 10.0
    tls: bool = False
    # Certificates of the authorities to trust; empty: the system's.
    ca_file: str = ""
    # Ours, where the broker asks for one.
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 64:
            raise ValueError(f"connections must be 1 to 64, not {self.connections}")
        if not 0 <= self.qos <= 2:
            raise ValueError(f"qos must be 0, 1 or 2, not {self.qos}")
        if not 1 <= self.keep_alive_s <= 65_535:
            raise ValueError(f"keep_alive_s must be 1 to 65535, not {self.keep_alive_s}")
        if not 0 <= self.session_expiry_s <= 0xFFFFFFFF:
            raise ValueError(f"session_expiry_s must be 0 to 4294967295, not {self.session_expiry_s}")
        if not 1024 <= self.max_packet_bytes <= 268_435_455:
            raise ValueError(f"max_packet_bytes must be 1024 to 268435455, not {self.max_packet_bytes}")
        if any(character in self.share_group for character in "/+#"):
            raise ValueError(f"share_group cannot have `/`, `+` or `#`: {self.share_group!r}")
        if not self.filters:
            raise ValueError("filters: at least one")
        for one in self.filters:
            if fault := _filter_fault(one):
                raise ValueError(f"filters: {one!r} {fault}")


def _filter_fault(text: str) -> str:
    """What is wrong with an MQTT topic filter (MQTT 5.0 section 4.7); empty: nothing."""
    if text.startswith("$share/"):
        return "is shared by `share_group`, not by its name"
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode()) > 65_000:
        return "is empty, too long or has a null character"
    if any("#" in level for level in levels[:-1]) or any(len(level) > 1 and set(level) & set("+#") for level in levels):
        return "has `+` or `#` beside other characters of a level, or `#` before the end"
    return ""


class SparkplugSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What we are to Sparkplug's edge nodes: a host application."""

    # Edge nodes that wait for a primary host name it; our STATE topic is spBv1.0/STATE/{host_id}.
    host_id: str = "cityfleet"
    # How late a message may be before its edge node is asked for its births.
    reorder_timeout_s: float = 5.0
    # One edge node is not asked again before; twice as long each time while no birth comes, up to the longest.
    rebirth_interval_s: float = 30.0
    rebirth_longest_s: float = 3_600.0
    # All edge nodes together: a rebirth is a burst of messages.
    rebirths_per_s: float = 10.0
    # Names, aliases and units of all edge nodes; also bounds the file that keeps them.
    max_state_bytes: int = 256_000_000
    # Edge nodes and devices that one gateway may announce.
    max_births_per_gateway: int = 4_096

    def __post_init__(self) -> None:
        if not self.host_id or any(character in self.host_id for character in "/+#\0"):
            raise ValueError(f"host_id must be one level of a topic: {self.host_id!r}")
        if self.rebirths_per_s < 0 or self.reorder_timeout_s < 0 or self.rebirth_interval_s <= 0:
            raise ValueError("times and rates cannot be negative")


class TimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Event times outside go to quarantine: a clock that never was set, or one that runs ahead."""

    earliest: str = "2000-01-01T00:00:00Z"
    max_ahead_s: float = 86_400.0


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment is closed, and becomes one insert, at the first of these."""

    segment_max_age_s: float = 0.5
    segment_max_rows: int = 2_000_000
    segment_max_bytes: int = 96_000_000
    # A segment of fewer rows is closed at this age already, if the store has nothing else to do.
    segment_early_age_s: float = 0.2
    segment_early_rows: int = 300_000
    # Above this much on disk, sockets are no longer read until the store has caught up.
    max_bytes: int = 8_000_000_000
    # The disk is left this much; with less, nothing is acknowledged.
    min_free_bytes: int = 500_000_000
    # With segments that wait longer for the store, /readyz says `degraded`.
    max_age_s: float = 300.0
    # "fsync": acknowledged when it is on disk. "memory": when it is in memory, and lost with the process.
    durability: Literal["fsync", "memory"] = "fsync"
    # As max_bytes, where segments are in memory; they count against max_in_flight_bytes too.
    max_bytes_memory: int = 200_000_000

    def __post_init__(self) -> None:
        for name in ("segment_max_rows", "segment_max_bytes", "max_bytes", "max_bytes_memory"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.min_free_bytes < 0:
            raise ValueError(f"min_free_bytes cannot be negative: {self.min_free_bytes}")


class RateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one sender may send, all its connections to this process together; 0: no limit."""

    messages_per_s: float = 0.0
    bytes_per_s: float = 0.0
    # So many seconds' worth may come at once.
    burst_s: float = 60.0

    def __post_init__(self) -> None:
        if self.messages_per_s < 0 or self.bytes_per_s < 0 or self.burst_s < 0:
            raise ValueError("messages_per_s, bytes_per_s and burst_s cannot be negative")


class QuotaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Far above what a sensor does, so that only one that has gone mad is held back."""

    devices: RateSettings = RateSettings(1_000.0, 1_000_000.0, 60.0)
    gateways: RateSettings = RateSettings(20_000.0, 50_000_000.0, 60.0)


class Watermarks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At which part of the caps (memory, and the spool's bytes) a class of traffic is no longer read."""

    broker: float = 0.5
    # And the gRPC stream.
    gateways: float = 0.75
    devices: float = 1.0
    # A class that is not read for so long is not let in any more: CONNACK 0x89, RESOURCE_EXHAUSTED.
    refuse_after_s: float = 10.0
    # While the store needs longer than this for what waits for it, intake gets at most `drain_part` of what it takes.
    drain_backlog_s: float = 5.0
    drain_part: float = 0.5

    def __post_init__(self) -> None:
        for name in ("broker", "gateways", "devices", "drain_part"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        if self.refuse_after_s < 0 or self.drain_backlog_s <= 0:
            raise ValueError("refuse_after_s cannot be negative, drain_backlog_s must be positive")


class StateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the registry is told of devices: connections, when they were last heard, what they say of themselves."""

    # Name of this node at the registry, no other's; empty: the host's name and a number kept in the data folder.
    node: str = ""
    report_interval_s: float = 5.0
    # A device whose only news is that it still talks is told at most so often. Devices are late after 30 s and more.
    progress_interval_s: int = 20
    # `state` documents that wait for the registry; while there is no room, they go to quarantine.
    max_document_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        if len(self.node.encode()) > 50 or not self.node.isascii() or (self.node and not self.node.isprintable()):
            raise ValueError(f"node must be at most 50 printable ASCII characters: {self.node!r}")
        if not 0 < self.report_interval_s <= 20:
            raise ValueError(f"report_interval_s must be above 0 and at most 20, not {self.report_interval_s}")
        if not 0 <= self.progress_interval_s <= 3_600:
            raise ValueError(f"progress_interval_s must be 0 to 3600, not {self.progress_interval_s}")
        if self.max_document_bytes < 0:
            raise ValueError(f"max_document_bytes cannot be negative: {self.max_document_bytes}")


class WriteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How segments go into the store."""

    # An insert without an answer for so long is tried again; after each such twice as long, up to ten times.
    answer_timeout_s: float = 60.0
    # After a failure nothing is sent for a while, each time twice as long, give or take a half.
    retry_first_s: float = 0.1
    retry_longest_s: float = 3.0
    # Parts of one partition, as the store counts them: above the first there are pauses between inserts, up to the
    # longest; above the second there are no inserts.
    parts_slow: int = 300
    parts_stop: int = 1_000
    parts_pause_s: float = 2.0
    parts_check_s: float = 5.0
    # How often the tables are asked for their deduplication windows.
    windows_check_s: float = 600.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_first_s <= self.retry_longest_s:
            raise ValueError("retry_first_s must be above 0 and not above retry_longest_s")
        if not 0 < self.parts_slow < self.parts_stop:
            raise ValueError("parts_slow must be above 0 and below parts_stop")
        if min(self.answer_timeout_s, self.parts_check_s, self.windows_check_s) <= 0 or self.parts_pause_s < 0:
            raise ValueError("times must be above 0")


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # Processes that share the ports. Limits on memory, disk and connections hold for each.
    workers: int = 1
    # What asks the store goes before what brings readings in, which the spool takes up later.
    nice: Nice = 10
    mqtt: MqttSettings = MqttSettings()
    grpc: GrpcSettings = GrpcSettings()
    broker: BrokerSettings = BrokerSettings()
    sparkplug: SparkplugSettings = SparkplugSettings()
    time: TimeSettings = TimeSettings()
    spool: SpoolSettings = SpoolSettings()
    write: WriteSettings = WriteSettings()
    state: StateSettings = StateSettings()
    # Address of the registry; empty: the one of this deployment's settings.
    registry: str = ""
    # Frames are gathered at most this long before they go down the pipeline together.
    gather_ms: float = 2.0
    # Everything in memory from the sockets to the committed row: frames, rows, blocks, insert bodies.
    max_in_flight_bytes: int = 512_000_000
    watermarks: Watermarks = Watermarks()
    quota: QuotaSettings = QuotaSettings()
    http: ListenSettings = ListenSettings(port=9103)

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 64:
            raise ValueError(f"workers must be 1 to 64, not {self.workers}")
        if self.max_in_flight_bytes < 32_000_000:
            raise ValueError(f"max_in_flight_bytes must be at least 32000000, not {self.max_in_flight_bytes}")
