"""The state of a device as ingest reported it, and what follows from it and the clock."""

import enum

import msgspec


class Connectivity(enum.IntEnum):
    """As in device.proto."""

    NEVER_SEEN = 1
    ONLINE = 2
    OFFLINE = 3


class Health(enum.IntEnum):
    """As in device.proto."""

    UNKNOWN = 1
    GOOD = 2
    DEGRADED = 3
    BAD = 4


class Connection(enum.IntEnum):
    """As in device_state.proto."""

    UNCHANGED = 0
    OPEN = 1
    CLOSED = 2


# Half again the expected interval is late, five of them silence.
LATE_MS_PER_S = 1500
SILENT_MS_PER_S = 5000
# For what is under way: ingest gathers before it reports.
GRACE_MS = 30_000
# A device whose type says no interval is online for so long after its last message.
DEFAULT_INTERVAL_S = 600


class Report(msgspec.Struct, frozen=True):
    """News of one device; times are UTC milliseconds, 0: nothing new."""

    device_num: int
    last_seen_ms: int = 0
    last_reading_ms: int = 0
    connection: Connection = Connection.UNCHANGED
    connection_ms: int = 0
    disconnect_reason: str = ""
    # Of a connection that is closed: when it had begun.
    opened_ms: int = 0
    # What its `state` document says; None: none came.
    document: "Document | None" = None


class Document(msgspec.Struct, frozen=True):
    """`text` is the JSON object as it came."""

    text: str
    time_ms: int
    firmware_version: str = ""
    config_version: int = 0
    hardware_revision: str = ""
    # YYYY-MM-DD, or empty.
    last_calibration: str = ""


class Reported(msgspec.Struct, frozen=True):
    """Of a device that was heard at least once. Times: UTC milliseconds, None: never."""

    is_connected: bool
    connect_time_ms: int | None
    disconnect_time_ms: int | None
    disconnect_reason: str
    last_seen_ms: int | None
    last_reading_ms: int | None
    firmware_version: str
    config_version: int
    hardware_revision: str


class Judgement(msgspec.Struct, frozen=True):
    """`reasons`: why health is not good: NO_READING, LATE, DISCONNECTED, GATEWAY_OFFLINE."""

    connectivity: Connectivity
    health: Health
    reasons: tuple[str, ...]


def connectivity(reported: Reported | None, interval_s: int, now_ms: int) -> Connectivity:
    """The same as registry.db.liveness.connectivity.

    Args: interval_s: of the type; 0: it says none.
    """
    if reported is None or reported.last_seen_ms is None:
        return Connectivity.NEVER_SEEN
    if reported.is_connected or reported.last_seen_ms >= now_ms - late_after_ms(interval_s or DEFAULT_INTERVAL_S):
        return Connectivity.ONLINE
    return Connectivity.OFFLINE


def health(reported: Reported | None, interval_s: int, now_ms: int) -> Health:
    """The same as registry.db.liveness.health."""
    if reported is None or reported.last_seen_ms is None or not interval_s:
        return Health.UNKNOWN
    if reported.last_reading_ms is None:
        return Health.DEGRADED
    if reported.last_reading_ms >= now_ms - late_after_ms(interval_s):
        return Health.GOOD
    return Health.DEGRADED if reported.last_reading_ms >= now_ms - silent_after_ms(interval_s) else Health.BAD


def judge(reported: Reported | None, interval_s: int, gateway: Connectivity | None, now_ms: int) -> Judgement:
    """Args: gateway: of the gateway that the device is behind; None: it is behind none."""
    connected, found = connectivity(reported, interval_s, now_ms), health(reported, interval_s, now_ms)
    if reported is None or found not in (Health.DEGRADED, Health.BAD):
        return Judgement(connected, found, ())
    reasons = ["NO_READING" if reported.last_reading_ms is None else "LATE"]
    if gateway is None and not reported.is_connected and reported.disconnect_time_ms is not None:
        reasons.append("DISCONNECTED")
    if gateway not in (None, Connectivity.ONLINE):
        reasons.append("GATEWAY_OFFLINE")
    return Judgement(connected, found, tuple(reasons))


def late_after_ms(interval_s: int) -> int:
    return interval_s * LATE_MS_PER_S + GRACE_MS


def silent_after_ms(interval_s: int) -> int:
    return interval_s * SILENT_MS_PER_S + GRACE_MS
