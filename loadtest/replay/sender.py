"""Sends readings as the devices they belong to: one MQTT 5 connection per device, packed, paced, acknowledged."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from loadtest.ledger import SentLedger
from loadtest.link import DeviceLink, LinkRefusedError, Receiver
from loadtest.payload import Encoding, Reading, content_type, encode, telemetry_topic


class NoTokenError(Exception):
    """There is no token for `device_id`."""

    def __init__(self, device_id: str) -> None:
        super().__init__(f"no token for the device {device_id}")
        self.device_id = device_id


class NobodyListensError(Exception):
    """No connection came about."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """`speed`: event time per wall time; None sends as fast as acknowledgements come. `pack`: readings per message."""

    speed: float | None = None
    pack: int = 1
    encoding: Encoding = Encoding.SENML_JSON
    window: int = 64
    connect_timeout_s: float = 20.0
    ack_timeout_s: float = 60.0


@dataclass(slots=True)
class SendTally:
    """Readings, unless the name says otherwise. sent = acked + refused + unacked."""

    sent: int = 0
    acked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    resent_messages: int = 0
    reconnects: int = 0
    seconds: float = 0.0
    by_device: Counter[str] = field(default_factory=Counter)

    @property
    def unacked(self) -> int:
        return self.sent - self.acked - self.refused.total()


class ReplaySender:
    """`async with ReplaySender(...) as sender: await sender.send(readings)`."""

    def __init__(
        self,
        receiver: Receiver,
        tokens: Mapping[str, str],
        options: SendOptions,
        ledger: SentLedger | None = None,
        on_progress: Callable[[SendTally], None] = lambda tally: None,
    ) -> None:
        self.tally = SendTally()
        self._receiver = receiver
        self._tokens = tokens
        self._options = options
        self._ledger = ledger
        self._on_progress = on_progress
        self._links: dict[str, DeviceLink] = {}
        self._shut_out: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> "ReplaySender":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, readings: Iterable[Reading]) -> None:
        """Send and wait for the acknowledgements, at most `ack_timeout_s` after the last reading.

        Raises: NoTokenError, NobodyListensError.
        """
        began = time.monotonic()
        first_ms: int | None = None
        waiting: dict[str, list[Reading]] = {}
        for reading in readings:
            if self._options.speed is not None:
                first_ms = reading.ts_ms if first_ms is None else first_ms
                due = began + (reading.ts_ms - first_ms) / 1000.0 / self._options.speed
                if (pause_s := due - time.monotonic()) > 0:
                    await asyncio.sleep(pause_s)
            packed = waiting.setdefault(reading.device_id, [])
            packed.append(reading)
            if len(packed) >= self._options.pack:
                await self._post(reading.device_id, waiting.pop(reading.device_id))
        for device_id, packed in waiting.items():
            await self._post(device_id, packed)
        await self._settle()
        self.tally.seconds = time.monotonic() - began

    async def _post(self, device_id: str, packed: list[Reading]) -> None:
        tally, encoding = self.tally, self._options.encoding
        tally.sent += len(packed)
        tally.by_device[device_id] += len(packed)

        def settled(reason: str | None) -> None:
            if reason is not None:
                tally.refused[reason] += len(packed)
                return
            tally.acked += len(packed)
            if self._ledger is not None:
                for reading in packed:
                    self._ledger.add(reading.device_id, reading.metric, reading.ts_ms)

        link = None if device_id in self._shut_out else await self._link(device_id)
        if link is not None:
            try:
                await link.post(
                    telemetry_topic(device_id, encoding),
                    encode(packed, encoding, device_id),
                    settled,
                    content_type(encoding),
                )
            except LinkRefusedError as exc:
                self._shut_out[device_id] = exc.reason
                tally.refused[f"connection: {exc.reason}"] += len(packed)
            tally.messages += 1
        else:
            tally.refused[f"connection: {self._shut_out[device_id]}"] += len(packed)
        self._on_progress(tally)

    async def _link(self, device_id: str) -> DeviceLink | None:
        link = self._links.get(device_id)
        if link is not None:
            return link
        token = self._tokens.get(device_id)
        if token is None:
            raise NoTokenError(device_id)
        link = await self._stack.enter_async_context(
            DeviceLink(self._receiver, device_id, token, window=self._options.window)
        )
        try:
            await link.connected(self._options.connect_timeout_s)
        except TimeoutError as exc:
            raise NobodyListensError(
                f"no MQTT connection to {self._receiver.host}:{self._receiver.port} within "
                f"{self._options.connect_timeout_s:g} s"
            ) from exc
        except LinkRefusedError as exc:
            self._shut_out[device_id] = exc.reason
            return None
        self._links[device_id] = link
        return link

    async def _settle(self) -> None:
        deadline = time.monotonic() + self._options.ack_timeout_s
        for link in self._links.values():
            with contextlib.suppress(LinkRefusedError):
                await link.drain(max(0.0, deadline - time.monotonic()))
            self._on_progress(self.tally)
        self.tally.resent_messages = sum(link.resent for link in self._links.values())
        self.tally.reconnects = sum(max(0, link.connects - 1) for link in self._links.values())
