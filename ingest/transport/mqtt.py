"""Our own MQTT endpoint: listens, and turns what devices publish into chunks of frames. The protocol is in ext/mqtt."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from ext.mqtt.hub import EVERYBODY, Hub
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota
from ingest.settings import MqttSettings
from ingest.transport.listeners import Listeners

log = structlog.get_logger()

SERVER_SHUTTING_DOWN = 0x8B
ADMINISTRATIVE_ACTION = 0x98
# How long clients have to take our DISCONNECT and close.
FAREWELL_S = 2.0


class MqttEndpoint:
    """MQTT 3.1.1 and 5.0 for devices and operators: user name and token. Everything in one uvloop.

    A chunk goes to `sink` when `gather_ms` have passed since its first frame, or when it is large. The sink must not
    raise or block. It calls `chunk.on_durable(chunk)`, in this loop, when all frames of the chunk are durable: that
    sends the PUBACKs. Chunks must become durable in the order in which they were given for PUBACKs to be in order.

    Sessions and retained messages are in memory: they end with the process. docs/mqtt.md tells clients what to expect.
    """

    def __init__(
        self,
        settings: MqttSettings,
        gather_ms: float,
        index: DeviceIndex,
        sink: Callable[[FrameChunk], None],
        *,
        shares_ports: bool = False,
        quota: Quota | None = None,
        max_partial_bytes: int = 64_000_000,
        states: DeviceStates | None = None,
    ) -> None:
        """`states`: told who connects, and when and why it goes."""
        self._states = states
        self._settings = settings
        self._gather_ms = gather_ms
        self._index = index
        self._sink = sink
        self._quota = quota
        self._max_partial_bytes = max_partial_bytes
        self._hub: Hub | None = None
        # Where there are other workers: awaited with the hub before it listens.
        self.before_listening: Callable[[Hub], Awaitable[None]] | None = None
        self._listeners = Listeners(settings, shares_ports=shares_ports)

    async def start(self) -> dict[str, str]:
        """Listen. Returns the addresses by kind: mqtt, mqtts, ws, wss.

        Raises: OSError if an address cannot be bound; ConfigError (certificate); RuntimeError outside uvloop.
        """
        loop = asyncio.get_running_loop()
        settings = self._settings
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
            max_retained_of_device=settings.max_retained_of_device,
            queue_messages=settings.queue_messages,
            queue_bytes=settings.queue_bytes,
            total_queue_bytes=settings.total_queue_bytes,
            outbound_window=settings.outbound_window,
            topic_aliases_out=settings.topic_aliases_out,
            on_refused=_log_refused,
            quota=self._quota,
            max_partial_bytes=self._max_partial_bytes,
            states=self._states,
        )
        if self.before_listening is not None:
            await self.before_listening(hub)
        await self._listeners.start(hub)
        self._hub = hub
        hub.start()
        return self._listeners.addresses

    def pause(self, traffic: int = EVERYBODY) -> None:
        """Stop reading the sockets of GATEWAYS, DEVICES (ext.mqtt.hub) or both: backpressure.

        Keep-alives do not run out meanwhile.
        """
        self._running().pause(traffic)

    def resume(self, traffic: int = EVERYBODY) -> None:
        """Read them again."""
        self._running().resume(traffic)

    def refuse(self, traffic: int) -> None:
        """Let in no more of these, until the next call: CONNACK 0x89, or 3 in 3.1.1."""
        self._running().refuse(traffic)

    @property
    def kept_bytes(self) -> int:
        """Of packets whose end has not come."""
        return self._hub.kept_bytes if self._hub is not None else 0

    async def stop_reading(self) -> None:
        """Stop accepting and reading, for good, and hand the current chunk on. PUBACKs are still sent."""
        self._listeners.stop()
        self._running().stop_reading()

    async def close(self, reason: int = SERVER_SHUTTING_DOWN) -> None:
        """Say good-bye to every client and close; call it when the last chunk is durable."""
        hub = self._running()
        await self._listeners.close()
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
        """Counts since the start by dotted name.

        How many there are now: `connections`, `sockets`, `waiting`, `sessions`, `subscriptions`, `retained`,
        `retained_bytes`, `queued_bytes`, `partial_bytes` (kept of packets whose end has not come).

        `messages.qos0|qos1|qos2`: taken into a chunk; `messages.plain`: of operators, to subscribers only.
        `rejected.{reason}`: messages refused at the door. `connects.{result}`: attempts to connect.
        `closed.{reason}`: connections that we closed. `acks`, `acks_refused` (with a reason), `acks_gone` (client had
        gone). `deliveries`, and those that were `_queued`, `_refused` (no room), `_too_large`, `_expired`.
        `sessions_resumed`, `_expired`, `_refused`; `retained_refused`; `wills`; `bytes`; `chunks`. Names that never
        counted are left out where the set is open. `quota_rests`: times that a socket was not read because of its
        quota; `partial_evicted`: connections closed because too much was kept of packets without an end.
        """
        if self._hub is None:
            return {}
        counters = self._hub.counters()
        for name, count in self._listeners.counters.items():
            counters[name] = counters.get(name, 0) + count
        counters["waiting"] = self._listeners.waiting
        return counters

    def _running(self) -> Hub:
        if self._hub is None:
            raise RuntimeError("the endpoint has not been started")
        return self._hub


def _log_refused(what: str, device: bytes, detail: bytes) -> None:
    """Called a few times a second at most; the counters have them all."""
    log.warning(
        "mqtt_refused",
        reason=what,
        device=device.decode(errors="backslashreplace"),
        detail=detail.decode(errors="backslashreplace"),
    )
