"""The host application's part that is not per message: asks for births, keeps the file, tells that it is there."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from ext.telemetry.sparkplug import SparkplugDecoder
from ingest.errors import UnavailableError
from ingest.settings import SparkplugSettings
from ingest.sparkplug.file import BirthFile
from ingest.sparkplug.messages import rebirth_request, rebirth_topic, state_payload, state_topic

log = structlog.get_logger()

_TICK_S = 0.25
# Of births and deaths so many are logged one by one in a tick.
_LOGGED = 20

# Topic, payload, QoS, retain. Raises UnavailableError if it cannot be sent now.
Publish = Callable[[bytes, bytes, int, bool], object]


class SparkplugHost:
    """Beside the decoder, in its loop: over what it knows of edge nodes.

    `publishers` are the ways out: `mqtt` for edge nodes that are connected to our endpoint, `broker` for others.
    """

    def __init__(
        self,
        settings: SparkplugSettings,
        decoder: SparkplugDecoder,
        folder: Path,
        publishers: Mapping[str, Publish],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._births = decoder.births
        self._file = BirthFile(folder)
        self._publishers = publishers
        self._clock = clock
        self._since_ms = self._now_ms()
        self._allowance = settings.rebirths_per_s
        self._refilled_ms = self._since_ms
        self._is_disk_well = True
        self._unsent = 0

    def load(self) -> None:
        """Take up what the file says; call it before the first message. A file that cannot be read is left alone."""
        try:
            data = self._file.read()
        except OSError as exc:
            log.error("sparkplug_births_unreadable", reason=str(exc))
            return
        self._births.load(data)
        if data:
            log.info(
                "sparkplug_births_loaded",
                nodes=self._births.born_nodes,
                devices=self._births.born_devices,
                damaged=self._births.damaged,
            )
        if self._births.damaged or self._file.is_grown:
            self._births.needs_snapshot = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.tick()
            await self.keep()
            await asyncio.sleep(_TICK_S)

    def tick(self) -> None:
        """Ask nodes for their births, within the limits, and log who came and went."""
        settings, now_ms = self._settings, self._now_ms()
        passed_s = max(0, now_ms - self._refilled_ms) / 1000
        self._refilled_ms = now_ms
        most = max(1.0, settings.rebirths_per_s)
        self._allowance = min(most, self._allowance + passed_s * settings.rebirths_per_s)
        due = self._births.rebirths_due(
            now_ms,
            round(settings.reorder_timeout_s * 1000),
            round(settings.rebirth_interval_s * 1000),
            round(settings.rebirth_longest_s * 1000),
            int(self._allowance),
        )
        self._allowance -= len(due)
        for sender, node, wants in due:
            self._send("mqtt" if sender else "broker", rebirth_topic(node), rebirth_request(now_ms), 0, False)
            log.info("sparkplug_rebirth_requested", node=_text(node), sender=sender, wants=wants)
        events = self._births.take_events()
        for what, sender, key, at_ms in events[:_LOGGED]:
            log.info(f"sparkplug_{what}", key=_text(key), sender=sender, at_ms=at_ms)
        if len(events) > _LOGGED:
            log.info("sparkplug_more_births_and_deaths", count=len(events) - _LOGGED)

    async def keep(self) -> None:
        """Write what is new to the file. A disk that refuses is tried again with everything."""
        births, file = self._births, self._file
        try:
            if births.needs_snapshot or file.is_grown:
                await asyncio.to_thread(file.replace, births.snapshot())
            elif records := births.take_journal():
                await asyncio.to_thread(file.append, records)
            self._is_disk_well = True
        except OSError as exc:
            births.needs_snapshot = True
            if self._is_disk_well:
                log.error("sparkplug_births_unwritable", reason=str(exc))
            self._is_disk_well = False

    def will(self) -> tuple[bytes, bytes, int, bool]:
        """The will of a connection that is about to be made to a broker: topic, payload, QoS, retain."""
        self._since_ms = self._now_ms()
        return state_topic(self._settings.host_id), state_payload(False, self._since_ms), 1, True

    def greet(self, transport: str = "broker") -> None:
        """Say that this host is there; call it whenever the way is open again.

        What came by there meanwhile is lost: births are taken for good only until they can be confirmed.
        """
        if transport == "broker":
            self._births.doubt(0)
        self._send(transport, state_topic(self._settings.host_id), state_payload(True, self._since_ms), 1, True)

    def take_leave(self, transports: tuple[str, ...]) -> None:
        """Say that this host goes, before the connections are closed."""
        payload = state_payload(False, self._now_ms())
        for transport in transports:
            self._send(transport, state_topic(self._settings.host_id), payload, 1, True)

    def counters(self) -> dict[str, int]:
        """Counts since the start; `messages.{type}` by type of message."""
        births = self._births
        return {
            **self._decoder.counters(),
            "births_kept": births.births_kept,
            "births_refused": births.births_refused,
            "deaths": births.deaths,
            "deaths_ignored": births.deaths_ignored,
            "evicted": births.evicted,
            "gaps": births.gaps,
            "missing": births.missing,
            "late": births.late,
            "repeated": births.repeated,
            "rebirths_requested": births.rebirths_requested,
            "rebirths_suppressed": births.rebirths_suppressed,
            "unsent": self._unsent,
            "damaged": births.damaged,
        }

    def gauges(self) -> dict[str, int]:
        """What is so now; stale are edge nodes and devices that are known and not born."""
        births = self._births
        return {
            "nodes.online": births.born_nodes,
            "nodes.stale": births.nodes - births.born_nodes,
            "devices.online": births.born_devices,
            "devices.stale": births.devices - births.born_devices,
            "state_bytes": births.held_bytes,
            "file_bytes": self._file.size_bytes,
        }

    def _send(self, transport: str, topic: bytes, payload: bytes, qos: int, retain: bool) -> None:
        try:
            if transport not in self._publishers:
                raise UnavailableError(f"no way out over {transport}")
            self._publishers[transport](topic, payload, qos, retain)
        except UnavailableError as exc:
            self._unsent += 1
            log.warning("sparkplug_not_sent", topic=_text(topic), reason=str(exc))

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
