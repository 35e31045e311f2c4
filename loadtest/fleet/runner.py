"""Sends the simulated city: one connection per device that has its own, gateways for those behind them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.fleet.behaviour import City
from loadtest.fleet.devices import METRICS, CityDevice
from loadtest.fleet.faults import Faults, bad_message
from loadtest.fleet.noise import unit
from loadtest.ledger import SentLedger
from loadtest.link import DeviceLink, LinkRefusedError, Receiver
from loadtest.payload import Encoding, Reading, content_type, encode, telemetry_topic

# A history message stays far below the receiver's packet limit.
MAX_BATCH_READINGS = 4_000


@dataclass(slots=True)
class FleetTally:
    """Readings, unless the name says otherwise. sent = acked + refused + in flight; bad messages are counted apart."""

    sent: int = 0
    acked: int = 0
    messages: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    by_type: Counter[str] = field(default_factory=Counter)
    # What the receiver must have put into quarantine, by device.
    bad_acked: Counter[str] = field(default_factory=Counter)
    shut_out: dict[str, str] = field(default_factory=dict)

    @property
    def unacked(self) -> int:
        return self.sent - self.acked - self.refused.total()


Progress = Callable[[int, int], None]


class FleetRunner:
    """Use as `async with`: `connect`, then `backfill`, then `live` until its event is set, then `drain`.

    Args:
        devices: as registered; `tokens` holds one for each.
        ledger: gets every acknowledged good reading.
    """

    def __init__(
        self,
        receiver: Receiver,
        devices: Sequence[CityDevice],
        tokens: Mapping[str, str],
        city: City,
        faults: Faults,
        ledger: SentLedger,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.tally = FleetTally()
        self._receiver = receiver
        self._devices = devices
        self._tokens = tokens
        self._city = city
        self._faults = faults
        self._ledger = ledger
        self._clock_ms = clock_ms
        self._started_ms = clock_ms()
        self._behind: dict[str, list[CityDevice]] = {}
        for device in devices:
            if device.gateway:
                self._behind.setdefault(device.gateway, []).append(device)
        self._links: dict[str, DeviceLink] = {}

    async def __aenter__(self) -> "FleetRunner":
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.TaskGroup() as closing:
            for link in self._links.values():
                closing.create_task(link.close())

    @property
    def connections(self) -> int:
        return sum(link.is_connected for link in self._links.values())

    @property
    def senders(self) -> list[CityDevice]:
        """Devices with a connection of their own."""
        return [device for device in self._devices if not device.gateway]

    async def connect(self, timeout_s: float, on_progress: Progress = lambda done, total: None) -> None:
        """Open a connection for every sender and wait for all. Those that are refused are in `tally.shut_out`.

        Raises: TimeoutError if a sender is not connected in time.
        """
        senders = self.senders
        for device in senders:
            link = DeviceLink(self._receiver, device.device_id, self._tokens[device.device_id])
            self._links[device.device_id] = await link.__aenter__()
        deadline = time.monotonic() + timeout_s
        for done, device in enumerate(senders):
            try:
                await self._links[device.device_id].connected(max(0.1, deadline - time.monotonic()))
            except LinkRefusedError as exc:
                self.tally.shut_out[device.device_id] = exc.reason
            on_progress(done + 1, len(senders))

    async def backfill(self, hours: float, step_s: int, on_progress: Progress = lambda done, total: None) -> None:
        """Send the last hours as `ReadingBatch`, as devices do after an outage; gateways carry those behind them."""
        until_ms = self._started_ms - self._started_ms % (step_s * 1000)
        stamps = range(until_ms - int(hours * 3_600_000), until_ms, step_s * 1000)
        done = 0
        for sender in self.senders:
            for device in (sender, *self._behind.get(sender.device_id, ())):
                await self._send(sender, self._history(device, stamps, step_s), Encoding.BATCH, device is not sender)
                done += 1
                on_progress(done, len(self._devices))
                await asyncio.sleep(0)  # the model computes; connections want their turn

    async def live(self, stop: asyncio.Event, period_s: float) -> None:
        """Until `stop`, every sender reports once per period, each at its own moment of it."""
        async with asyncio.TaskGroup() as tasks:
            for device in self.senders:
                tasks.create_task(self._report(device, stop, period_s), name=f"report {device.device_id}")

    async def drain(self, timeout_s: float) -> None:
        """Wait for the acknowledgements that are still out."""
        deadline = time.monotonic() + timeout_s
        for link in self._links.values():
            with contextlib.suppress(LinkRefusedError):
                await link.drain(max(0.0, deadline - time.monotonic()))

    def _history(self, device: CityDevice, stamps: range, step_s: int) -> list[Reading]:
        readings = []
        names = METRICS[device.device_type]
        for ts_ms in stamps:
            if self._faults.is_silent(device.device_id, ts_ms):
                break
            values = self._city.measure(device, ts_ms, step_s)
            readings += [
                Reading(device.device_id, name, ts_ms, value) for name, value in zip(names, values, strict=True)
            ]
        return readings

    async def _report(self, sender: CityDevice, stop: asyncio.Event, period_s: float) -> None:
        if self._faults.is_silent(sender.device_id, self._started_ms):
            return
        pause_s = period_s * unit(self._city.seed, sender.key, 301)
        habit = self._faults.habits.get(sender.device_id)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            if stop.is_set():
                return
            began = time.monotonic()
            now_ms = self._clock_ms()
            await self._send(sender, self._now(sender, now_ms, period_s), Encoding.SENML_JSON, False)
            behind = [
                reading
                for device in self._behind.get(sender.device_id, ())
                if not self._faults.is_silent(device.device_id, now_ms)
                for reading in self._now(device, now_ms, period_s)
            ]
            await self._send(sender, behind, Encoding.SENML_JSON, True)
            if habit is not None:
                bad = bad_message(sender, habit, now_ms, self._started_ms)
                await self._post(sender, bad.payload, bad.encoding, False, self._settle_bad(sender, bad.readings))
            pause_s = max(0.05, period_s - (time.monotonic() - began))

    def _now(self, device: CityDevice, now_ms: int, period_s: float) -> list[Reading]:
        values = self._city.measure(device, now_ms, max(1, round(period_s)))
        names = METRICS[device.device_type]
        return [Reading(device.device_id, name, now_ms, value) for name, value in zip(names, values, strict=True)]

    async def _send(
        self, sender: CityDevice, readings: Sequence[Reading], encoding: Encoding, as_gateway: bool
    ) -> None:
        for start in range(0, len(readings), MAX_BATCH_READINGS):
            part = readings[start : start + MAX_BATCH_READINGS]
            self.tally.sent += len(part)
            payload = encode(part, encoding, sender.device_id)
            await self._post(sender, payload, encoding, as_gateway, self._settle_good(sender, part))

    async def _post(
        self,
        sender: CityDevice,
        payload: bytes,
        encoding: Encoding,
        as_gateway: bool,
        settled: Callable[[str | None], None],
    ) -> None:
        if reason := self.tally.shut_out.get(sender.device_id):
            settled(f"connection: {reason}")
            return
        topic = telemetry_topic(sender.device_id, encoding, as_gateway=as_gateway)
        self.tally.messages += 1
        try:
            await self._links[sender.device_id].post(topic, payload, settled, content_type(encoding))
        except LinkRefusedError as exc:
            self.tally.shut_out[sender.device_id] = exc.reason
            settled(f"connection: {exc.reason}")

    def _settle_good(self, sender: CityDevice, readings: Sequence[Reading]) -> Callable[[str | None], None]:
        def settled(reason: str | None) -> None:
            if reason is not None:
                self.tally.refused[reason] += len(readings)
                return
            self.tally.acked += len(readings)
            self.tally.by_type[sender.device_type] += len(readings)
            for reading in readings:
                self._ledger.add(reading.device_id, reading.metric, reading.ts_ms)

        return settled

    def _settle_bad(self, sender: CityDevice, readings: int) -> Callable[[str | None], None]:
        def settled(reason: str | None) -> None:
            if reason is None:
                self.tally.bad_acked[sender.device_id] += readings

        return settled
