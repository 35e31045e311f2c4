"""The consumer of an external broker: a shared subscription through aiomqtt, acknowledged after the spool.

The broker has authenticated its clients and says who may publish where; here the topic names the sender.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable

import aiomqtt
import structlog
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ext.telemetry.frames import REASON_NAMES, SCOPES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.topic import content_type_encoding, parse
from ingest.settings import BrokerSettings
from ingest.transport.gate import Gate
from ingest.transport.gather import Gatherer

log = structlog.get_logger()

_BACKOFF_S = (0.5, 30.0)
_FILTERS = ("cf/v1/d/+/telemetry/#", "cf/v1/g/+/telemetry/#")
# Unacknowledged messages the broker may have on the way to us. Without it mosquitto sends 20 and then queues.
_RECEIVE_MAXIMUM = 65_535
# What our session survives; a member that stays away longer must not hold messages that others could take.
_SESSION_EXPIRY_S = 60


class BrokerConsumer:
    """Runs until cancelled. Counters are plain ints by event name."""

    def __init__(
        self,
        settings: BrokerSettings,
        gather_ms: float,
        index: DeviceIndex,
        gate: Gate,
        sink: Callable[[FrameChunk], None],
    ) -> None:
        self._settings = settings
        self._index = index
        self._gate = gate
        self._gatherer = Gatherer("broker", gather_ms, self._on_durable, sink)
        self._waiting: dict[int, tuple[aiomqtt.Client, int, int]] = {}
        self._client: aiomqtt.Client | None = None
        self._next_ref = 1
        self.counters: Counter[str] = Counter()
        self.problem = ""

    async def run(self) -> None:
        """Consume; reconnect and subscribe again with jittered backoff."""
        delay_s = _BACKOFF_S[0]
        while True:
            try:
                await self._consume()
                delay_s = _BACKOFF_S[0]
            except aiomqtt.MqttError as exc:
                self.problem = f"broker {self._settings.host}:{self._settings.port}: {exc}"
                log.warning("broker_retry", retry_s=round(delay_s, 2), reason=str(exc))
            self.counters["broker_reconnects"] += 1
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _consume(self) -> None:
        settings = self._settings
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.ReceiveMaximum = _RECEIVE_MAXIMUM
        connect.SessionExpiryInterval = _SESSION_EXPIRY_S
        client = aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username or None,
            password=settings.password or None,
            identifier=settings.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=connect,
        )
        # aiomqtt has no manual acknowledgement of its own; its paho client does.
        client._client.manual_ack_set(True)
        async with client:
            self._client = client
            try:
                for topic in _FILTERS:
                    await client.subscribe(f"$share/{settings.share_group}/{topic}", qos=1)
                self.problem = ""
                log.info("broker_subscribed", broker=f"{settings.host}:{settings.port}", group=settings.share_group)
                async for message in client.messages:
                    await self._gate.wait_open()
                    self._take(client, message)
            finally:
                self._client = None

    def _take(self, client: aiomqtt.Client, message: aiomqtt.Message) -> None:
        topic = str(message.topic).encode()
        payload = message.payload if isinstance(message.payload, bytes) else b""
        content_type = getattr(message.properties, "ContentType", "") if message.properties else ""
        # The filters let only telemetry topics through; an odd one still gets its place in quarantine.
        scope, device_id, is_telemetry, encoding = parse(topic) or (SCOPES["device"], b"", False, 0)
        ref, self._next_ref = self._next_ref, self._next_ref + 1
        self._waiting[ref] = (client, message.mid, message.qos)
        self.counters["broker_messages"] += 1
        self._gatherer.chunk().add(
            topic,
            payload,
            sender=self._index.find_device(device_id),
            encoding=encoding or content_type_encoding(content_type.encode()),
            scope=scope,
            reason=0 if is_telemetry else REASON_NAMES.index("unsupported_topic"),
            received_ms=time.time_ns() // 1_000_000,
            ack_ref=ref,
        )
        self._gatherer.added()

    def _on_durable(self, chunk: FrameChunk) -> None:
        for ref in chunk.ack_refs():
            client, mid, qos = self._waiting.pop(ref)
            # A message of a connection that is gone comes again; acknowledging it on a new one would be wrong.
            if qos and client is self._client:
                client._client.ack(mid, qos)

    def flush(self) -> None:
        """Hand on what was gathered."""
        self._gatherer.flush()
