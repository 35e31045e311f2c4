"""One device's MQTT 5 connection for senders: many PUBLISH in flight, reconnects, repeats what was not acknowledged."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# A CONNACK with one of these is about who we are: trying again changes nothing (MQTT 5.0 table 3-1).
REFUSED_FOR_GOOD = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})

_silent = logging.getLogger("loadtest.mqtt")
_silent.setLevel(logging.CRITICAL)

# Called once per message: None when acknowledged, else the reason why the receiver refused it.
Settled = Callable[[str | None], None]


class LinkRefusedError(Exception):
    """The receiver does not accept this device; `reason` is its own word for it."""

    def __init__(self, device_id: str, reason: str) -> None:
        super().__init__(f"{device_id}: connection refused: {reason}")
        self.device_id = device_id
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to send.

    `connecting` bounds how many connections are being opened at once. Within `refusal_grace_s` a refused device tries
    again: one that was registered a moment ago may not be known to the receiver yet.
    """

    host: str
    port: int
    connecting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(16))
    connect_timeout_s: float = 20.0
    keep_alive_s: int = 60
    refusal_grace_s: float = 0.0


@dataclass(slots=True)
class _Message:
    topic: str
    payload: bytes
    properties: Properties | None
    settled: Settled


class _Client(aiomqtt.Client):
    """aiomqtt with a `post` that does not wait and that tells the PUBACK's reason code.

    `aiomqtt.Client.publish` ignores the reason code, so that a refused message looks acknowledged, and walks over all
    pending calls at every message, which makes a deep window quadratic.
    """

    posted: dict[int, Callable[[str | None], None]]

    def post(self, message: _Message, on_ack: Callable[[str | None], None]) -> bool:
        info = self._client.publish(message.topic, message.payload, 1, False, message.properties)
        if info.rc != MQTT_ERR_SUCCESS:
            return False
        self.posted[info.mid] = on_ack
        return True

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        on_ack = self.posted.pop(mid, None)
        if on_ack is not None:
            on_ack(str(reason_code) if reason_code.is_failure else None)

    async def lost(self) -> None:
        """Return when the connection has ended."""
        with contextlib.suppress(Exception):
            await asyncio.shield(self._disconnected)


class DeviceLink:
    """`async with DeviceLink(receiver, "wl-long-bien-01", token) as link: await link.post(...); await link.drain(10)`.

    Args:
        window: messages in flight at most; `post` waits when they are reached.
    """

    def __init__(self, receiver: Receiver, device_id: str, token: str, *, window: int = 32) -> None:
        self.device_id = device_id
        self.connects = 0
        self.resent = 0
        self._receiver = receiver
        self._token = token
        self._window = window
        self._client: _Client | None = None
        self._unacked: dict[int, _Message] = {}
        self._sequence = 0
        self._changed = asyncio.Event()
        self._leaving = asyncio.Event()
        self._refused: LinkRefusedError | None = None
        self._task: asyncio.Task[None] | None = None
        self._properties: dict[str, Properties] = {}

    @property
    def is_connected(self) -> bool:
        return self._client is not None

    @property
    def in_flight(self) -> int:
        """Messages that were posted and are neither acknowledged nor refused."""
        return len(self._unacked)

    async def __aenter__(self) -> "DeviceLink":
        self._task = asyncio.create_task(self._run(), name=f"link {self.device_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect. What is still in flight stays unsettled; call `drain` before."""
        self._leaving.set()
        if self._task is not None:
            await self._task

    async def connected(self, timeout_s: float) -> None:
        """Wait for the connection. Raises LinkRefusedError, TimeoutError."""
        await self._wait(lambda: self.is_connected, timeout_s)

    async def post(self, topic: str, payload: bytes, settled: Settled, content_type: str = "") -> None:
        """Hand over one message; waits while the window is full. Raises LinkRefusedError."""
        if len(self._unacked) >= self._window or self._refused:
            await self._wait(lambda: len(self._unacked) < self._window, None)
        self._sequence += 1
        message = _Message(topic, payload, self._content(content_type), settled)
        self._unacked[self._sequence] = message
        if self._client is not None:
            self._transmit(self._client, self._sequence, message)

    async def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight; False if that did not happen in time. Raises LinkRefusedError."""
        try:
            await self._wait(lambda: not self._unacked, timeout_s)
        except TimeoutError:
            return False
        return True

    async def _wait(self, condition: Callable[[], bool], timeout_s: float | None) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if self._refused is not None:
                    raise self._refused
                self._changed.clear()
                await self._changed.wait()

    def _content(self, content_type: str) -> Properties | None:
        if not content_type:
            return None
        if content_type not in self._properties:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.ContentType = content_type
            self._properties[content_type] = properties
        return self._properties[content_type]

    def _transmit(self, client: _Client, sequence: int, message: _Message) -> None:
        # A failed write ends the connection; the message stays in `_unacked` and goes out with the next one.
        client.post(message, lambda reason: self._settle(sequence, reason))

    def _settle(self, sequence: int, reason: str | None) -> None:
        message = self._unacked.pop(sequence, None)
        if message is not None:
            message.settled(reason)
            self._changed.set()

    async def _run(self) -> None:
        failures = 0
        patient_until = time.monotonic() + self._receiver.refusal_grace_s
        while not self._leaving.is_set():
            try:
                if await self._serve():
                    failures = 0
            except MqttConnectError as exc:
                code = exc.rc if isinstance(exc.rc, int) else getattr(exc.rc, "value", 0)
                if code in REFUSED_FOR_GOOD and time.monotonic() >= patient_until:
                    self._refused = LinkRefusedError(self.device_id, str(exc.rc))
                    self._changed.set()
                    return
            except aiomqtt.MqttError:
                pass  # the next attempt tells whether the receiver is back
            failures += 1
            pause_s = random.uniform(0.5, 1.0) * min(0.2 * 2.0**failures, 15.0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause_s)

    async def _serve(self) -> bool:
        """Hold one connection until it ends or we leave; True if it came about."""
        client = _Client(
            self._receiver.host,
            self._receiver.port,
            identifier=self.device_id,
            username=self.device_id,
            password=self._token,
            protocol=aiomqtt.ProtocolVersion.V5,
            timeout=self._receiver.connect_timeout_s,
            keepalive=self._receiver.keep_alive_s,
            max_inflight_messages=self._window,
            logger=_silent,
        )
        client.posted = {}
        async with contextlib.AsyncExitStack() as stack:
            async with self._receiver.connecting:
                await stack.enter_async_context(client)
            self.resent += len(self._unacked) if self.connects else 0
            self.connects += 1
            self._client = client
            try:
                for sequence, message in list(self._unacked.items()):
                    self._transmit(client, sequence, message)
                self._changed.set()
                lost = asyncio.create_task(client.lost())
                leaving = asyncio.create_task(self._leaving.wait())
                try:
                    await asyncio.wait((lost, leaving), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    lost.cancel()
                    leaving.cancel()
            finally:
                self._client = None
        return True
