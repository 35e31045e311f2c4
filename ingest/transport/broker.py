"""The consumer of an external broker: connections that share a subscription, acknowledged after the spool.

The broker has authenticated its clients and says who may publish where; here the topic names the sender. The
protocol is in ext/mqtt/client.pyx; this module connects, waits and connects again.
"""

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from ext.mqtt.client import BrokerLink
from ext.mqtt.intake import Intake
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ingest.errors import UnavailableError
from ingest.settings import BrokerSettings
from ingest.transport.broker_plan import Plan, Remembered, options, password_of, tls_of
from ingest.transport.gate import Gate, Traffic

log = structlog.get_logger()

_BACKOFF_S = (0.5, 30.0)
# A connection that was open for so long was a good one: the next attempt need not wait.
_STEADY_S = 10.0
# So many connections one after the other that were made and lost before that are not chance.
_SUSPICIOUS_LIVES = 3
_WAIT_FOR_INDEX_S = 0.05
_FAREWELL_S = 3.0
_UNSUPPORTED_VERSION = 0x84

# Reason codes of CONNACK and DISCONNECT that are told apart; others are `refused` and `disconnected`.
_CAUSES = {
    0x84: "unsupported_version",
    0x85: "client_id_not_valid",
    0x86: "bad_credentials",
    0x87: "not_authorized",
    0x88: "server_unavailable",
    0x89: "server_busy",
    0x8A: "banned",
    0x8B: "server_shutting_down",
    0x8D: "keep_alive_timeout",
    0x8E: "taken_over",
    0x97: "quota_exceeded",
    0x98: "administrative_action",
    0x9C: "use_another_server",
    0x9D: "server_moved",
    0x9E: "shared_subscriptions_not_supported",
    0x9F: "connection_rate_exceeded",
}
# Trying again soon helps nobody: a person has to change something, or another process has our client id.
_HOPELESS = frozenset(
    {
        "unsupported_version", "client_id_not_valid", "bad_credentials", "not_authorized", "banned", "taken_over",
        "quota_exceeded", "use_another_server", "server_moved", "shared_subscriptions_not_supported", "not_subscribed",
        "connection_rate_exceeded",
    }
)  # fmt: skip
_ADVICE = {
    "taken_over": "does another process use this client id? ingest.broker.client_id must differ for every node",
    "shared_subscriptions_not_supported": "set ingest.broker.share_group to the empty string",
    "use_another_server": "ingest.broker.host is left as it is",
    "server_moved": "ingest.broker.host is left as it is",
}

# The will of the next connect of the first connection: topic, payload, QoS, retain.
Will = tuple[bytes, bytes, int, bool]


class BrokerConsumer:
    """Consumes while `run` runs. Chunks go to `sink` as from the other transports; see MqttEndpoint."""

    def __init__(
        self,
        settings: BrokerSettings,
        index: DeviceIndex,
        gate: Gate,
        sink: Callable[[FrameChunk], None],
        state_file: Path | None = None,
        backoff_s: tuple[float, float] = _BACKOFF_S,
    ) -> None:
        """`backoff_s`: the first wait between two attempts, and the longest.

        Raises: ConfigError if the password, a certificate or a key cannot be read.
        """
        self._settings = settings
        self._index = index
        self._gate = gate
        self._sink = sink
        self._plan = Plan.of(settings) if settings.host else Plan((), (), 0)
        self._password = password_of(settings) if settings.host else ""
        self._tls = tls_of(settings) if settings.host else None
        self._remembered = Remembered(state_file if settings.host else None)
        self._intake: Intake | None = None
        self._links: list[BrokerLink] = []
        self._backoff_s = backoff_s
        self._is_leaving = False
        self._reconnects: Counter[str] = Counter()
        self._problem = "not connected yet"
        # For Sparkplug: asked before each connect of the first connection, and told after its subscriptions stand.
        self.will: Callable[[], Will] | None = None
        self.on_connected: Callable[[], None] | None = None

    @property
    def problem(self) -> str:
        """Why nothing is consumed; empty while a connection is open."""
        return "" if any(link.is_open for link in self._links) else self._problem

    async def run(self) -> None:
        """Hold the connections until cancelled."""
        settings = self._settings
        intake = Intake(self._index, self._sink, asyncio.get_running_loop(), settings.gather_ms)
        self._intake = intake
        self._links = [
            BrokerLink(
                intake,
                f"{settings.client_id}-{number}".encode(),
                max_packet_bytes=settings.max_packet_bytes,
                connect_timeout_s=settings.connect_timeout_s,
                stall_s=settings.stall_timeout_s,
                ack_timeout_s=settings.ack_timeout_s,
            )
            for number in range(self._plan.connections)
        ]
        self._gate.on_change(intake.pause, intake.resume, Traffic.BROKER)
        if not self._gate.is_open_for(Traffic.BROKER):
            intake.pause()
        intake.start()
        try:
            async with asyncio.TaskGroup() as connections:
                for number in range(len(self._links)):
                    connections.create_task(self._hold(number), name=f"broker_{number}")
        finally:
            intake.close()

    async def _hold(self, number: int) -> None:
        """Connect, stay, connect again with jittered backoff."""
        loop = asyncio.get_running_loop()
        delay_s = self._backoff_s[0]
        short_lives = 0
        while not self._is_leaving:
            await self._wait_ready()
            began_s = loop.time()
            cause, code, said = await self._attempt(number, 5)
            if code == _UNSUPPORTED_VERSION and cause == "refused":
                log.info("broker_falls_back", connection=number, version="3.1.1")
                cause, code, said = await self._attempt(number, 4)
            if self._is_leaving:
                return
            if cause in ("refused", "disconnected", "not_subscribed"):
                cause = _CAUSES.get(code, cause)
            self._reconnects[cause] += 1
            short_lives = short_lives + 1 if cause == "lost" else 0
            if loop.time() - began_s >= _STEADY_S:
                delay_s = self._backoff_s[0]
                short_lives = 0
            longest_s = self._backoff_s[1] if cause in _HOPELESS else delay_s
            wait_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)
            delay_s = min(delay_s * 2, self._backoff_s[1])
            # mosquitto 2.0 does not say why it gives up the older of two connections with one client id.
            advice = _ADVICE.get("taken_over" if short_lives >= _SUSPICIOUS_LIVES else cause, "")
            self._tell(number, cause, code, said, wait_s, advice)
            await asyncio.sleep(wait_s)

    async def _wait_ready(self) -> None:
        """For the devices, for an open gate, and after a stall of our own until what was taken is durable."""
        assert self._intake is not None
        while self._index.awaits_snapshot:
            await asyncio.sleep(_WAIT_FOR_INDEX_S)
        await self._gate.wait_open(Traffic.BROKER)
        limit_s = self._settings.ack_timeout_s
        while limit_s and self._intake.oldest_s() > limit_s:
            await asyncio.sleep(_WAIT_FOR_INDEX_S)

    async def _attempt(self, number: int, version: int) -> tuple[str, int, bytes]:
        """One connection, from its beginning to its end: why it ended."""
        settings, link = self._settings, self._links[number]
        client_id = link.client_id.decode()
        wanted = self._plan.filters(number)
        opened, closed = link.begin(
            version,
            username=settings.username.encode() if settings.username else None,
            password=self._password.encode() if self._password else None,
            filters=[(one.encode(), options(version, settings.qos)) for one in wanted],
            stale_filters=self._remembered.stale(client_id, wanted),
            keep_alive_s=settings.keep_alive_s,
            session_expiry_s=settings.session_expiry_s,
            will=self.will() if self.will is not None and number == 0 else None,
        )
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: link, settings.host, settings.port, ssl=self._tls
                )
        except ssl.SSLError as exc:
            return "tls_failed", 0, str(exc).encode()
        except TimeoutError:
            return "unreachable", 0, b"no answer in time"
        except OSError as exc:
            return "unreachable", 0, str(exc).encode()
        try:
            await asyncio.wait((opened, closed), return_when=asyncio.FIRST_COMPLETED)
            if opened.done() and not opened.cancelled():
                self._remembered.keep(client_id, wanted)
                self._greet(number, version, opened.result())
            return await closed
        except asyncio.CancelledError:
            link.close()
            raise

    def _greet(self, number: int, version: int, reasons: bytes) -> None:
        settings, link = self._settings, self._links[number]
        log.info(
            "broker_subscribed",
            broker=f"{settings.host}:{settings.port}",
            connection=number,
            version="5" if version == 5 else "3.1.1",
            group=settings.share_group,
            had_session=link.had_session,
        )
        for one, reason in zip(self._plan.filters(number), reasons, strict=True):
            if reason >= 0x80:
                log.error("broker_filter_refused", connection=number, filter=one, reason=f"0x{reason:02x}")
        if number == 0 and self.on_connected is not None:
            self.on_connected()

    def _tell(self, number: int, cause: str, code: int, said: bytes, wait_s: float, advice: str) -> None:
        settings = self._settings
        facts = {"reason_code": f"0x{code:02x}"} if code else {}
        if said:
            facts["said"] = said.decode(errors="backslashreplace")
        if advice:
            facts["advice"] = advice
        self._problem = f"broker {settings.host}:{settings.port}: {cause} {facts.get('said', '')}".strip()
        say = log.error if cause in _HOPELESS else log.warning
        say("broker_retry", connection=number, cause=cause, retry_s=round(wait_s, 2), **facts)

    def publish(self, topic: bytes, payload: bytes, qos: int, retain: bool = False) -> None:
        """Send a message through the broker: rebirth requests, downlinks. At QoS 1 it is repeated until acknowledged.

        Raises: UnavailableError if no connection takes it now; ValueError if it is too large or of another QoS.
        """
        reason = "no connection"
        for link in self._links:
            try:
                link.publish(topic, payload, qos, retain)
                return
            except ConnectionError as exc:
                reason = str(exc)
        raise UnavailableError(f"broker {self._settings.host}:{self._settings.port}: {reason}")

    def stop_reading(self) -> None:
        """Take no more, for good, and hand on what was gathered. Acknowledgements are still sent."""
        self._is_leaving = True
        if self._intake is not None:
            self._intake.stop_reading()

    async def close(self) -> None:
        """Leave the broker in order; call it when the last chunk is durable. What is queued stays with the broker."""
        self._is_leaving = True
        for link in self._links:
            link.close()
        deadline_s = asyncio.get_running_loop().time() + _FAREWELL_S
        while any(link.gauges()["connected"] for link in self._links):
            if asyncio.get_running_loop().time() > deadline_s:
                break
            await asyncio.sleep(0.01)

    def counters(self) -> dict[str, int]:
        """What all connections counted together."""
        if self._intake is None:
            return {}
        totals: Counter[str] = Counter()
        for link in self._links:
            totals.update(link.counters())
        messages = sum(totals[f"messages.qos{qos}"] for qos in range(3))
        return {
            "broker_messages": messages,
            "broker_reconnects": self._reconnects.total(),
            "broker_retained": totals["retained"],
            "broker_repeats": totals["repeats"],
            "broker_oversized": totals["oversized"],
            "broker_acks_gone": self._intake.counters()["acks_gone"],
        }

    def reconnects(self) -> dict[str, int]:
        """How often connections ended, by cause."""
        return dict(self._reconnects)

    def connections(self) -> list[tuple[dict[str, int], dict[str, float]]]:
        """Of each connection: counters, and gauges of now."""
        return [(link.counters(), link.gauges()) for link in self._links]
