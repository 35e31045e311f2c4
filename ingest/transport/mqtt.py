"""Our own MQTT endpoint: listens, and turns what devices publish into chunks of frames. The protocol is in ext/mqtt."""

import asyncio
import resource
from collections.abc import Callable

import structlog
import uvloop

from ext.mqtt.connection import Connection
from ext.mqtt.hub import Hub
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ingest.settings import MqttSettings

log = structlog.get_logger()

SERVER_SHUTTING_DOWN = 0x8B
ADMINISTRATIVE_ACTION = 0x98
# How long clients have to take our DISCONNECT and close.
FAREWELL_S = 2.0
BACKLOG = 4096
# Files and sockets of the process beside the devices' connections.
SPARE_FILES = 2048


class MqttEndpoint:
    """MQTT 3.1.1 and 5.0 for devices and operators: user name and token. Everything in one uvloop.

    A chunk goes to `sink` when `gather_ms` have passed since its first frame, or when it is large. The sink must not
    raise or block. It calls `chunk.on_durable(chunk)`, in this loop, when all frames of the chunk are durable: that
    sends the PUBACKs. Chunks must become durable in the order in which they were given for PUBACKs to be in order.

    Sessions and retained messages are in memory: they end with the process. docs/mqtt.md tells clients what to expect.
    """

    def __init__(
        self, settings: MqttSettings, gather_ms: float, index: DeviceIndex, sink: Callable[[FrameChunk], None]
    ) -> None:
        self._settings = settings
        self._gather_ms = gather_ms
        self._index = index
        self._sink = sink
        self._hub: Hub | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen. Returns the port. Raises OSError if the address cannot be bound, RuntimeError outside uvloop."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, uvloop.Loop):
            raise RuntimeError("the MQTT endpoint needs uvloop")  # others do not take its protocol class
        settings = self._settings
        _allow_files(settings.max_connections + SPARE_FILES)
        hub = Hub(
            self._index,
            self._sink,
            loop,
            self._gather_ms,
            max_packet_bytes=settings.max_packet_bytes,
            max_connections=settings.max_connections,
            receive_maximum=settings.receive_maximum,
            connect_timeout_s=settings.connect_timeout_s,
            max_keep_alive_s=settings.max_keep_alive_s,
            max_sessions=settings.max_sessions,
            max_session_expiry_s=settings.max_session_expiry_s,
            max_subscriptions=settings.max_subscriptions,
            max_retained=settings.max_retained,
            max_retained_bytes=settings.max_retained_bytes,
            queue_messages=settings.queue_messages,
            queue_bytes=settings.queue_bytes,
            total_queue_bytes=settings.total_queue_bytes,
            outbound_window=settings.outbound_window,
            topic_aliases_out=settings.topic_aliases_out,
            on_refused=_log_refused,
        )
        self._server = await loop.create_server(
            lambda: Connection(hub), settings.host, settings.port, backlog=BACKLOG, reuse_address=True
        )
        self._hub = hub
        hub.start()
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def pause(self) -> None:
        """Stop reading all sockets: backpressure. Keep-alives do not run out meanwhile."""
        self._running().pause()

    def resume(self) -> None:
        """Read all sockets again."""
        self._running().resume()

    async def stop_reading(self) -> None:
        """Stop accepting and reading, for good, and hand the current chunk on. PUBACKs are still sent."""
        if self._server is not None:
            self._server.close()
        self._running().stop_reading()

    async def close(self, reason: int = SERVER_SHUTTING_DOWN) -> None:
        """Say good-bye to every client and close; call it when the last chunk is durable."""
        hub = self._running()
        if self._server is not None:
            self._server.close()
        hub.stop_reading()
        hub.leave_all(reason)
        deadline = asyncio.get_running_loop().time() + FAREWELL_S
        while hub.sockets and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        hub.abort_all()
        while hub.sockets:
            await asyncio.sleep(0)

    def deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> int:
        """Publish a downlink message of a device.

        Args:
            topic: `cf/v1/d/{device_id}/` and `commands`, `config` or `firmware`.
            qos: 0 to 2, the most that a subscriber gets.
            retain: keep it for those who subscribe later; an empty payload takes away what is kept.
        Returns: for how many sessions it was sent or is kept (QoS 1 and 2: also while the client is away).
        Raises: ValueError if the topic is not a downlink topic of this device.
        """
        return self._running().deliver(device_id, topic, payload, qos, retain)

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: bytes = b"",
        expiry_s: int | None = None,
    ) -> int:
        """Publish a message of the platform's own on any topic: to subscribers only, never into the pipeline.

        Args:
            properties: MQTT 5 properties of a PUBLISH, encoded, without their length.
            expiry_s: Message Expiry Interval.
        Returns: for how many sessions it was sent or is kept.
        """
        return self._running().publish(topic, payload, qos, retain, properties, expiry_s)

    def kick(self, user_name: bytes, reason: int = ADMINISTRATIVE_ACTION) -> int:
        """Close all connections of a device or operator (decommissioned, token changed). Returns their number."""
        return self._running().kick(user_name, reason)

    def counters(self) -> dict[str, int]:
        """Counts since the start by dotted name; `connections` and `sockets` say how many there are now.

        `messages.qos0|qos1`: taken into a chunk. `rejected.{reason}`: messages refused at the door.
        `connects.{result}`: attempts to connect. `closed.{reason}`: connections that we closed. `acks`, `acks_refused`
        (PUBACK with a reason), `acks_gone` (client had gone); `deliveries`, `deliveries_refused`; `bytes`; `chunks`.
        Names that never counted are left out where the set is open.
        """
        return self._hub.counters() if self._hub is not None else {}

    def _running(self) -> Hub:
        if self._hub is None:
            raise RuntimeError("the endpoint has not been started")
        return self._hub


def _allow_files(wanted: int) -> None:
    """Raise this process's limit of open files, whose usual default of 1,024 is soon reached, as far as it may go."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("mqtt_open_files_limited", limit=allowed, wanted=wanted)


def _log_refused(what: str, device: bytes, detail: bytes) -> None:
    """Called a few times a second at most; the counters have them all."""
    log.warning(
        "mqtt_refused",
        reason=what,
        device=device.decode(errors="backslashreplace"),
        detail=detail.decode(errors="backslashreplace"),
    )
