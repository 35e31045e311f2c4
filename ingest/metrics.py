"""Ingest's metrics: plain counters that the stages own, read when Prometheus asks, and the families made of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ext.mqtt.hub import NOW
from ingest.model import TABLES, SealedBatch, Segment

# Of the transports' counters these say how many there are now.
_OPEN_NOW = NOW | {"waiting", "grpc_open_streams"}
_QUARANTINE = TABLES.index("quarantine")
_DISK_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

SPOOL_FSYNC_SECONDS = Histogram(
    "cityfleet_ingest_spool_fsync_seconds",
    "Time to append one record to the spool and fsync it.",
    buckets=_DISK_BUCKETS,
)
WRITE_INSERT_SECONDS = Histogram(
    "cityfleet_ingest_write_insert_seconds",
    "Time from a closed segment to its commit in ClickHouse, retries included.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

INDEX_FILE_IGNORED = Counter(
    "cityfleet_ingest_index_file_ignored",
    "Starts at which the device index on disk was damaged or of another version and was not used.",
)
INDEX_SAVE_FAILURES = Counter(
    "cityfleet_ingest_index_save_failures", "Times that the device index could not be written to disk."
)
INDEX_ENTRIES_REFUSED = Counter(
    "cityfleet_ingest_index_entries_refused",
    "Devices, metrics, types and operators of the registry that the device index would not take.",
    labelnames=["kind"],
)


class SpoolState:
    """What the spool stage has done; in readings where nothing else is said."""

    def __init__(self) -> None:
        # Found on disk at the start.
        self.recovered = 0
        # Of sealed batches that the stage has begun with, and of closed segments.
        self.taken = 0
        self.closed_readings = 0
        # Acknowledged in memory mode, and neither in the store nor on disk when the process ended.
        self.lost = 0
        self.records = 0
        self.bytes = 0
        self.append_failures = 0
        self.closed_bytes = 0
        # Made durable, by table.
        self.readings = [0] * len(TABLES)

    def found(self, segment: Segment) -> None:
        """Left by the process before."""
        self.recovered += sum(segment.readings)
        self.closed_bytes += segment.size_bytes

    def took(self, batch: SealedBatch) -> None:
        self.taken += sum(batch.readings)

    def appended(self, batch: SealedBatch) -> None:
        self.records += 1
        self.bytes += batch.size_bytes
        for table, readings in enumerate(batch.readings):
            self.readings[table] += readings

    def closed(self, segment: Segment) -> None:
        self.closed_bytes += segment.size_bytes
        self.closed_readings += sum(segment.readings)


class WriteState:
    """What the write stage has done; in readings where nothing else is said."""

    def __init__(self) -> None:
        self.segments = 0
        self.retries = 0
        # Of segments that the stage has begun with; those that it is not done with, by name.
        self.taken = 0
        self.in_hand: dict[str, Segment] = {}
        # Committed, by table.
        self.readings = [0] * len(TABLES)
        self.set_aside_readings = 0
        self.taken_bytes = 0
        self.unavailable = ""

    @property
    def held(self) -> int:
        """Begun with and not done."""
        return sum(sum(segment.readings) for segment in self.in_hand.values())

    def took(self, segment: Segment) -> None:
        self.taken += sum(segment.readings)
        self.in_hand[segment.name] = segment

    def written(self, segment: Segment, refused: Sequence[int] = ()) -> None:
        """Args: refused: readings by table that the store refused and that are in quarantine instead."""
        self.in_hand.pop(segment.name, None)
        self.segments += 1
        self.taken_bytes += segment.size_bytes
        for table, readings in enumerate(segment.readings):
            self.readings[table] += readings
        for table, readings in enumerate(refused):
            self.readings[table] -= readings
            self.readings[_QUARANTINE] += readings

    def lost_part(self, segment: Segment, remaining: Segment) -> None:
        """A part of it cannot be read any more; its file is kept for a person."""
        self.in_hand[segment.name] = remaining
        self.set_aside_readings += sum(segment.readings) - sum(remaining.readings)

    def set_aside(self, segment: Segment) -> None:
        self.in_hand.pop(segment.name, None)
        self.set_aside_readings += sum(segment.readings)
        self.taken_bytes += segment.size_bytes


class LedgerFamilies(Protocol):
    """The ledger, see `ingest.ledger`."""

    def families(self) -> Iterator[Metric]: ...


class BrokerCounts(Protocol):
    """What the consumer of an external broker tells."""

    def reconnects(self) -> Mapping[str, int]: ...
    def connections(self) -> list[tuple[dict[str, int], dict[str, float]]]: ...


_BROKER_COUNTERS = {
    "bytes": ("cityfleet_ingest_broker_received_bytes", "Bytes read from the external broker."),
    "acks": ("cityfleet_ingest_broker_acks", "PUBACK and PUBREC sent, each after the spool had the message."),
    "duplicates": ("cityfleet_ingest_broker_duplicates", "Messages with DUP set: sent again by the broker."),
    "repeats": ("cityfleet_ingest_broker_repeats", "QoS 2 messages that we had already: answered, not taken again."),
    "retained": ("cityfleet_ingest_broker_retained", "Retained messages: acknowledged, not taken as new readings."),
    "oversized": ("cityfleet_ingest_broker_oversized", "Messages above max_packet_bytes: to quarantine, cut."),
    "published": ("cityfleet_ingest_broker_published", "Messages that we sent to the broker."),
    "publish_refused": ("cityfleet_ingest_broker_publish_refused", "Messages of ours that the broker did not take."),
}
_BROKER_GAUGES = {
    "open": ("cityfleet_ingest_broker_open", "1 while the connection is subscribed."),
    "in_flight": ("cityfleet_ingest_broker_in_flight", "Messages taken and not acknowledged yet."),
    "in_flight_age_s": ("cityfleet_ingest_broker_in_flight_age_seconds", "Age of the oldest of those."),
    "last_message_age_s": ("cityfleet_ingest_broker_last_message_age_seconds", "Since the last message; -1: none yet."),
}


def broker_families(broker: BrokerCounts) -> Iterator[Metric]:
    """One sample for each connection, numbered from 0."""
    connections = broker.connections()
    if not connections:
        return
    messages = CounterMetricFamily(
        "cityfleet_ingest_broker_messages", "Messages taken from the broker.", labels=["connection", "qos"]
    )
    for number, (counters, _) in enumerate(connections):
        for qos in range(3):
            messages.add_metric([str(number), str(qos)], counters[f"messages.qos{qos}"])
    yield messages
    for key, (name, text) in _BROKER_COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=["connection"])
        for number, (counters, _) in enumerate(connections):
            counter.add_metric([str(number)], counters[key])
        yield counter
    for key, (name, text) in _BROKER_GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=["connection"])
        for number, (_, gauges) in enumerate(connections):
            gauge.add_metric([str(number)], gauges[key])
        yield gauge
    reconnects = CounterMetricFamily(
        "cityfleet_ingest_broker_reconnects", "Connections that ended, or did not begin, by cause.", labels=["cause"]
    )
    for cause, count in broker.reconnects().items():
        reconnects.add_metric([cause], count)
    yield reconnects


class SparkplugCounts(Protocol):
    """What the Sparkplug host tells."""

    def counters(self) -> Mapping[str, int]: ...
    def gauges(self) -> Mapping[str, int]: ...


# Names after `cityfleet_ingest_sparkplug_`.
_SPARKPLUG_COUNTERS = {
    "births_kept": ("births", "Births (NBIRTH, DBIRTH) whose aliases are known now."),
    "births_refused": ("births_refused", "Births decoded but not remembered, or nodes not followed: no room."),
    "deaths": ("deaths", "Deaths (NDEATH, DDEATH) of what was born."),
    "deaths_ignored": ("deaths_ignored", "Deaths of an older connection (another bdSeq), or of what was dead."),
    "evicted": ("evicted", "Dead edge nodes forgotten to make room."),
    "gaps": ("sequence_gaps", "Messages that came with others before them missing."),
    "missing": ("sequence_missing", "Messages that were missing when a later one came."),
    "late": ("sequence_late", "Missing messages that came after all."),
    "repeated": ("sequence_repeated", "Messages with a number that had just been."),
    "rebirths_requested": ("rebirths_requested", "Requests for a rebirth."),
    "rebirths_suppressed": ("rebirths_suppressed", "Messages that called for a rebirth already asked for or too soon."),
    "readings.unknown_alias": ("unknown_aliases", "Readings by an alias that no birth gave: to quarantine."),
    "readings.transient": ("transient_readings", "Readings that are not to be stored, by their own flag."),
    "readings.historical": ("historical_readings", "Readings of an earlier time, by their own flag: stored."),
    "readings.null": ("null_metrics", "Metrics without a value: no readings."),
    "unsent": ("unsent", "Messages of ours that found no way out."),
    "damaged": ("damaged_records", "Places in the file of births that could not be read."),
}


def sparkplug_families(sparkplug: SparkplugCounts) -> Iterator[Metric]:
    counts, gauges = sparkplug.counters(), sparkplug.gauges()
    messages = CounterMetricFamily(
        "cityfleet_ingest_sparkplug_messages",
        "Messages decoded, by type; commands of others count as other.",
        labels=["type"],
    )
    for name, count in counts.items():
        if name.startswith("messages."):
            messages.add_metric([name.removeprefix("messages.")], count)
    yield messages
    for name, (metric, text) in _SPARKPLUG_COUNTERS.items():
        yield CounterMetricFamily(f"cityfleet_ingest_sparkplug_{metric}", text, counts[name])
    for kind in ("nodes", "devices"):
        family = GaugeMetricFamily(
            f"cityfleet_ingest_sparkplug_{kind}",
            f"Known {kind}: online after a birth, stale after a death.",
            labels=["state"],
        )
        for state in ("online", "stale"):
            family.add_metric([state], gauges[f"{kind}.{state}"])
        yield family
    yield GaugeMetricFamily(
        "cityfleet_ingest_sparkplug_state_bytes", "Memory of names, aliases and units.", gauges["state_bytes"]
    )
    yield GaugeMetricFamily(
        "cityfleet_ingest_sparkplug_file_bytes", "Size of the file of births.", gauges["file_bytes"]
    )


class IngestCollector(Collector):
    """Turns the stages' counters into Prometheus families at each scrape."""

    def __init__(
        self,
        ledger: LedgerFamilies,
        spool: SpoolState,
        write: WriteState,
        transports: Callable[[], Mapping[str, int]],
        refused: Callable[[], Mapping[str, int]],
        depths: Callable[[], Mapping[str, int]],
        devices: Callable[[], int],
        broker: BrokerCounts,
        sparkplug: SparkplugCounts,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._write = write
        self._transports = transports
        self._refused = refused
        self._depths = depths
        self._devices = devices
        self._broker = broker
        self._sparkplug = sparkplug

    def describe(self) -> Iterator[Metric]:
        """Nothing to say before the stages run; without this the registry would collect at once to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield from self._ledger.families()
        yield CounterMetricFamily(
            "cityfleet_ingest_spool_records", "Records (commit windows) made durable.", self._spool.records
        )
        yield CounterMetricFamily(
            "cityfleet_ingest_spool_written_bytes", "Bytes of blocks made durable.", self._spool.bytes
        )
        yield CounterMetricFamily(
            "cityfleet_ingest_spool_append_failures",
            "Appends that the disk refused; nothing is acknowledged meanwhile.",
            self._spool.append_failures,
        )
        yield CounterMetricFamily(
            "cityfleet_ingest_write_segments", "Segments committed in ClickHouse.", self._write.segments
        )
        written = CounterMetricFamily(
            "cityfleet_ingest_write_readings", "Readings committed in ClickHouse, by table.", labels=["table"]
        )
        for table, readings in zip(TABLES, self._write.readings, strict=True):
            written.add_metric([table], readings)
        yield written
        yield CounterMetricFamily(
            "cityfleet_ingest_write_retries", "Inserts tried again after an error.", self._write.retries
        )
        refused = CounterMetricFamily(
            "cityfleet_ingest_quarantined_readings", "Readings sent to quarantine, by reason.", labels=["reason"]
        )
        for reason, count in self._refused().items():
            refused.add_metric([reason], count)
        yield refused
        events = CounterMetricFamily(
            "cityfleet_ingest_transport_events", "What the transports counted, by event.", labels=["event"]
        )
        open_now = GaugeMetricFamily("cityfleet_ingest_transport_open", "What there is now, by kind.", labels=["kind"])
        for event, count in self._transports().items():
            (open_now if event in _OPEN_NOW else events).add_metric([event], count)
        yield events
        yield open_now
        depth = GaugeMetricFamily("cityfleet_ingest_queue_depth", "What waits before each stage.", labels=["queue"])
        for queue, count in self._depths().items():
            depth.add_metric([queue], count)
        yield depth
        yield from broker_families(self._broker)
        yield from sparkplug_families(self._sparkplug)
        yield GaugeMetricFamily("cityfleet_ingest_index_devices", "Devices in the device index.", self._devices())
