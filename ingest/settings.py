"""Settings of the ingest role."""

import msgspec

from runtime.settings import ListenSettings


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our own MQTT endpoint."""

    host: str = "127.0.0.1"
    port: int = 1883
    max_packet_bytes: int = 262_144
    max_connections: int = 50_000
    receive_maximum: int = 65_535
    # A connection that has not sent a whole CONNECT by then is closed.
    connect_timeout_s: float = 10.0
    # Used where a client asks for none, and the most it may ask for (MQTT 5: sent as Server Keep Alive).
    max_keep_alive_s: int = 1_200


class GrpcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 50052
    max_message_bytes: int = 4_194_304


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An external broker to consume from; no host: none."""

    host: str = ""
    port: int = 1883
    username: str = ""
    password: str = ""
    client_id: str = "cityfleet-ingest-1"
    share_group: str = "cityfleet"


class TimeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Event times outside go to quarantine: a clock that never was set, or one that runs ahead."""

    earliest: str = "2000-01-01T00:00:00Z"
    max_ahead_s: float = 86_400.0


class SpoolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment is closed, and becomes one insert, at the first of these."""

    segment_max_age_s: float = 0.5
    segment_max_rows: int = 500_000
    segment_max_bytes: int = 64_000_000
    # Above this much on disk, sockets are no longer read until the store has caught up.
    max_bytes: int = 8_000_000_000


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mqtt: MqttSettings = MqttSettings()
    grpc: GrpcSettings = GrpcSettings()
    broker: BrokerSettings = BrokerSettings()
    time: TimeSettings = TimeSettings()
    spool: SpoolSettings = SpoolSettings()
    # Address of the registry; empty: the one of this deployment's settings.
    registry: str = ""
    # Frames are gathered at most this long before they go down the pipeline together.
    gather_ms: float = 2.0
    # Bytes of frames and readings in memory, above which sockets are no longer read.
    max_in_flight_bytes: int = 256_000_000
    http: ListenSettings = ListenSettings(port=9103)
