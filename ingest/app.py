"""Ingest as one program: the only place that sees two stages, and that knows the order to start and to leave in."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import msgspec
import structlog
from prometheus_client.registry import REGISTRY

from ext.mqtt.hub import DEVICES, GATEWAYS, REASON_NAMES
from ext.telemetry.device_states import ENDS, DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota
from ext.telemetry.readings import Readings
from ext.telemetry.sparkplug_births import Births
from ingest.batch.batch import Batch
from ingest.batch.stage import SealedMemory, batch_stage
from ingest.decode.decoder import Decoder
from ingest.ledger import TRANSIENT, Ledger, StageCounts, messages_rejected, messages_taken
from ingest.ledger_file import LedgerFile
from ingest.metrics import IngestCollector, SpoolState, WriteState
from ingest.model import SealedBatch, Segment
from ingest.replay.judge import Judge, ReplayChunk
from ingest.replay.service import ReplayService
from ingest.resolve.feed import IndexFeed
from ingest.resolve.index_file import IndexFile
from ingest.resolve.resolver import Resolver, TimeWindow
from ingest.settings import IngestSettings, RateSettings
from ingest.sparkplug.host import SparkplugHost
from ingest.spool.backlog import Backlog
from ingest.spool.bodies import SegmentReader
from ingest.spool.memory import MemorySpool
from ingest.spool.spool import Spool
from ingest.spool.stage import spool_stage
from ingest.state.documents import DocumentKeeper
from ingest.state.metrics import StateCollector
from ingest.state.node import node_name
from ingest.state.reporter import StateReporter
from ingest.transport.broker import BrokerConsumer
from ingest.transport.drain import Drain
from ingest.transport.gate import Gate, Traffic
from ingest.transport.grpc import GrpcTransport
from ingest.transport.mqtt import MqttEndpoint
from ingest.transport.pressure import Pressure, PressureCollector
from ingest.workers.bus import Bus
from ingest.workers.fellows import Fellows
from ingest.workers.place import Place
from ingest.write.clickhouse import ClickHouseStore
from ingest.write.memory import InsertMemory
from ingest.write.stage import WriteStage
from runtime.endpoint import Endpoint
from runtime.pipe import Pipe
from runtime.secrets import secret
from runtime.units import conversions
from store.client import open_client
from store.settings import StoreSettings

log = structlog.get_logger()

# At shutdown the store gets this long to take what is in the spool; the rest stays on disk for the next start.
_DRAIN_S = 15.0
_KEEP_LEDGER_S = 10.0
# At the end the registry gets this long to hear who is not connected any more.
_FAREWELL_S = 2.0
_CHUNKS = 4096
# Rows of one commit window, and so of one record: what is laid out in memory while the disk is busy.
_WINDOW_ROWS = 500_000
_ROW_BYTES = 40
# The memory cap in parts: one is what a segment, two commit windows, or all unfinished packets may hold at most. Four
# windows and four segments (one inserted, one read, which takes three) leave intake four parts even when all are full.
_PARTS = 10


async def run(
    settings: IngestSettings,
    store: StoreSettings,
    registry: str,
    place: Place,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    """Serve until `stop` is set, then leave in flow order: stop reading, drain, fsync, acknowledge, write, close.

    Args:
        registry: address of the registry, `host:port`.
        place: which worker this is, and the data folder.
        on_listening: called once with the addresses by kind.
    Raises: ConfigError, OSError if an address or the spool cannot be used.
    """
    with ExitStack() as held:
        await place.hold_spools(held)
        await _Ingest(place.settings(settings), store, registry, place).serve(stop, on_listening)


class _Ingest:
    def __init__(self, settings: IngestSettings, store: StoreSettings, registry: str, place: Place) -> None:
        self._part_bytes = settings.max_in_flight_bytes // _PARTS
        segment_bytes = min(settings.spool.segment_max_bytes, self._part_bytes)
        settings = msgspec.structs.replace(
            settings, spool=msgspec.structs.replace(settings.spool, segment_max_bytes=segment_bytes)
        )
        self._settings = settings
        self._store = store
        self._place = place
        internal = secret(place.data_dir, "internal")
        self._chunks: Pipe[FrameChunk] = Pipe(_CHUNKS)
        self._sealed: Pipe[SealedBatch] = Pipe(1)
        # Closed segments are descriptors of files; their number is bounded by the spool's bytes on disk.
        self._closed: Pipe[Segment] = Pipe(1_000_000)
        self._gate = Gate(settings.max_in_flight_bytes, settings.watermarks)
        self._index = DeviceIndex(conversions)
        self._index.awaits_snapshot = True
        births = Births(settings.sparkplug.max_state_bytes, settings.sparkplug.max_births_per_gateway)
        self._states = DeviceStates(
            self._index,
            node_name(place.data_dir, place.number, settings.state.node),
            time.time_ns(),
            {**REASON_NAMES, **ENDS},
            settings.state.progress_interval_s,
            settings.state.max_document_bytes,
        )
        self._documents = DocumentKeeper(
            self._states, place.path("documents.log"), place.left_over_files("documents.log")
        )
        self._reporter = StateReporter(self._states, registry, internal, settings.state.report_interval_s)
        self._decoder = Decoder(self._index, births, self._states)
        window = TimeWindow.parse(settings.time.earliest, settings.time.max_ahead_s)
        self._resolver = Resolver(self._index, window, self._states)
        self._readings = Readings()
        self._batch = Batch()
        self._sealed_memory = SealedMemory()
        self._spool_state = SpoolState()
        self._write_state = WriteState()
        self._writer = ClickHouseStore(
            lambda: open_client(store, place.data_dir, "writer"), settings.write.answer_timeout_s
        )
        self._backlog = Backlog()
        spool = Spool if settings.spool.durability == "fsync" else MemorySpool
        self._spool = spool(place.path("spool"), settings.spool, backlog=self._backlog)
        quota = Quota(self._index, _rates(settings.quota.devices), _rates(settings.quota.gateways))
        self._mqtt = MqttEndpoint(
            settings.mqtt,
            settings.gather_ms,
            self._index,
            self._take,
            shares_ports=not place.is_alone,
            quota=quota,
            max_partial_bytes=self._part_bytes,
            states=self._states,
        )
        self._bus: Bus | None = None
        self._fellows: Fellows | None = None
        if not place.is_alone:
            self._bus = Bus(place.number, place.count, place.data_dir)
            self._fellows = Fellows(self._bus, self._mqtt)
        for traffic, bit in ((Traffic.GATEWAYS, GATEWAYS), (Traffic.DEVICES, DEVICES)):
            self._gate.on_change(partial(self._mqtt.pause, bit), partial(self._mqtt.resume, bit), traffic)
        drain = Drain(settings.watermarks)
        self._bodies = InsertMemory(SegmentReader().read, lambda: self._write_state.taken_bytes)
        self._write = WriteStage(self._writer, self._bodies.read, self._write_state, settings.write)
        self._pressure = Pressure(
            self._gate,
            drain,
            self._spool_state,
            self._write_state,
            self._spool.limit_bytes,
            {"partial_packets": lambda: self._mqtt.kept_bytes},
            {
                "spool": lambda: self._backlog.memory_bytes,
                "batch": lambda: self._batch.size_bytes,
                "sealed": lambda: self._sealed_memory.held_bytes,
                "inserts": lambda: self._bodies.held_bytes,
            },
            self._refuse,
        )
        judge = Judge(self._index, window.earliest_ms, window.max_ahead_ms)
        self._replay = ReplayService(
            self._index, judge, partial(self._gate.wait_open, Traffic.BROKER), self._take, internal
        )
        self._grpc = GrpcTransport(
            settings.grpc,
            settings.gather_ms,
            self._index,
            self._gate,
            self._take,
            self._deliver,
            internal,
            shares_port=not place.is_alone,
            quota=quota,
            services=[self._replay],
            states=self._states,
        )
        self._broker = BrokerConsumer(
            settings.broker, self._index, self._gate, self._take, place.path("broker-filters.json")
        )
        self._sparkplug = SparkplugHost(
            settings.sparkplug,
            self._decoder.sparkplug,
            place.path("sparkplug"),
            {"mqtt": self._mqtt.publish, "broker": self._broker.publish},
        )
        self._is_sparkplug_on_broker = bool(settings.broker.host) and any(
            one.startswith("spBv1.0/") for one in settings.broker.filters
        )
        if self._is_sparkplug_on_broker:
            self._broker.will = self._sparkplug.will
            self._broker.on_connected = self._sparkplug.greet
        index_file = IndexFile(place.path("index"))
        self._feed = IndexFeed(self._index, registry, internal, self._on_revoked, index_file)
        self._frames_handed_on = 0
        self._ledger = Ledger(self._stage_counts, self._spool_state, self._write_state)
        self._ledger_file = LedgerFile(place.path("ledger.json"), self._ledger)
        self._pressure_collector = PressureCollector(self._gate, drain)
        self._state_collector = StateCollector(self._states, self._reporter)
        self._collector = IngestCollector(
            self._ledger,
            self._spool_state,
            self._write_state,
            transports=self._transport_counters,
            refused=lambda: self._resolver.counters.refused,
            depths=self._depths,
            devices=lambda: len(self._index),
            broker=self._broker,
            sparkplug=self._sparkplug,
        )

    async def serve(self, stop: asyncio.Event, on_listening: Callable[[dict[str, str]], None]) -> None:
        settings = self._settings
        own = [self._spool] if isinstance(self._spool, Spool) else []
        folders = list(map(self._place.left_over, self._place.left_over_spools()))
        if not own:
            log.warning("spool_in_memory", lost_with_the_process=True)
            folders.append(self._place.path("spool"))
        others = [Spool(folder, settings.spool, backlog=self._backlog) for folder in folders]
        spools = [*own, *others]
        sources = [*(one.recover for one in own), *(one.drain for one in others)]
        for segment in await asyncio.to_thread(lambda: [one for recover in sources for one in recover()]):
            self._closed.put_nowait(segment)
            self._write.expect([segment])
            self._spool_state.found(segment)
        if self._spool_state.recovered:
            log.info("spool_recovered", readings=self._spool_state.recovered, segments=len(self._closed))
        await self._open_ledger(
            sum(loss.readings or 0 for one in spools for loss in one.losses if not loss.is_unfinished)
        )
        self._backlog.expose()
        self._feed.load()
        await asyncio.to_thread(self._documents.load)
        await asyncio.to_thread(self._sparkplug.load)
        REGISTRY.register(self._collector)
        REGISTRY.register(self._pressure_collector)
        REGISTRY.register(self._state_collector)
        try:
            async with Endpoint(settings.http, self._readiness, degraded=self._degraded) as endpoint:
                # Not in the task group: it would wrap an address in use, which a person should read as it is.
                if self._bus is not None:
                    await self._bus.start()
                addresses = await self._mqtt.start()
                self._sparkplug.greet("mqtt")
                grpc_port = await self._grpc.start()
                addresses["grpc"] = f"{settings.grpc.host}:{grpc_port}"
                addresses["metrics"] = f"http://{settings.http.host}:{endpoint.port}/metrics"
                await self._run(stop, lambda: on_listening(addresses))
        finally:
            REGISTRY.unregister(self._collector)
            REGISTRY.unregister(self._pressure_collector)
            REGISTRY.unregister(self._state_collector)
            if self._bus is not None:
                await self._bus.close()

    async def _run(self, stop: asyncio.Event, on_running: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as helpers:
            flow = asyncio.create_task(self._flow(), name="flow")
            feed = helpers.create_task(self._feed.run(), name="index_feed")
            reporter = helpers.create_task(self._reporter.run(), name="device_states")
            pressure = helpers.create_task(self._pressure.run(), name="pressure")
            ledger = helpers.create_task(self._keep_ledger(), name="ledger")
            sparkplug = helpers.create_task(self._sparkplug.run(), name="sparkplug")
            consumer = helpers.create_task(self._broker.run(), name="broker") if self._settings.broker.host else None
            limit = helpers.create_task(self._limit_quarantine(), name="limit_quarantine")
            on_running()
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait([stopped, flow], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if flow.done():
                await asyncio.to_thread(self._ledger_file.keep, self._ledger_file.now("failed"))
                flow.result()  # a stage failed: leave with its error, the supervisor starts us again
            await self._leave(flow)
            self._reporter.leave()
            await asyncio.wait([reporter], timeout=_FAREWELL_S)
            for task in (feed, reporter, pressure, ledger, sparkplug, consumer, limit):
                if task is not None:
                    task.cancel()
        await asyncio.to_thread(self._documents.close)

    async def _flow(self) -> None:
        """Batch, spool and write, each ending when the pipe before it has ended."""
        settings = self._settings
        # In memory mode documents are on disk when the process ends, as readings are.
        keepers = [self._documents.keep] if self._spool.is_on_disk else []
        batch = batch_stage(
            self._chunks,
            self._sealed,
            self._convert,
            self._batch,
            min(settings.spool.segment_max_rows, _WINDOW_ROWS, self._part_bytes // 2 // _ROW_BYTES),
            self._part_bytes // 2,
            self._on_durable,
            self._sealed_memory,
        )
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(batch, name="batch")
                stages.create_task(
                    spool_stage(
                        self._sealed, self._closed, self._spool, self._spool_state, self._is_store_idle, *keepers
                    ),
                    name="spool",
                )
                stages.create_task(self._write.run(self._closed), name="write")
        finally:
            await self._writer.close()
            if isinstance(self._spool, MemorySpool):
                self._spool_state.lost += await asyncio.to_thread(self._spool.keep)

    async def _leave(self, flow: "asyncio.Task[None]") -> None:
        """In flow order: no more input, drain to the spool, acknowledge, give the store a while, close."""
        await self._mqtt.stop_reading()
        await self._grpc.stop_reading()
        self._broker.stop_reading()
        self._chunks.close()
        try:
            async with asyncio.timeout(_DRAIN_S):
                await asyncio.shield(flow)
        except TimeoutError:
            flow.cancel()
            await asyncio.gather(flow, return_exceptions=True)
        self._sparkplug.take_leave(("mqtt", "broker") if self._is_sparkplug_on_broker else ("mqtt",))
        await self._broker.close()
        await self._sparkplug.keep()
        await self._grpc.close()
        await self._mqtt.close()
        await self._close_ledger()

    async def _open_ledger(self, damaged: int) -> None:
        """Hold what was found in the spool, and what is known to be damaged, against what the run before left there."""
        left_over = [self._place.left_over_path("ledger.json", number) for number in self._place.left_over_spools()]
        for fault in self._ledger_file.begin(self._spool_state.recovered, damaged, left_over):
            log.error("ledger_carried_over", missing=fault.missing, reason=fault.text)
        await asyncio.to_thread(self._ledger_file.keep, self._ledger_file.now())

    async def _keep_ledger(self) -> None:
        """What a killed process leaves is at most this old."""
        while True:
            await asyncio.sleep(_KEEP_LEDGER_S)
            await asyncio.to_thread(self._ledger_file.keep, self._ledger_file.now())

    async def _close_ledger(self) -> None:
        # Of what write had in hand when it ended, some was done with, without having been counted.
        waiting = {segment.name for segment in self._backlog.waiting()}
        for segment in list(self._write_state.in_hand.values()):
            if segment.name not in waiting:
                is_aside = segment.path.with_suffix(".poison").exists()
                (self._write_state.set_aside if is_aside else self._write_state.written)(segment)
        run = self._ledger_file.now("stopped")
        await asyncio.to_thread(self._ledger_file.keep, run)
        for fault in run.breaks:
            log.error("ledger_broken", stage=fault.stage, missing=fault.missing, unit=fault.unit, reason=fault.text)
        say = log.error if run.breaks else log.info
        say("ledger", imbalance=sum(fault.missing for fault in run.breaks), **run.entries, **run.unacknowledged)

    def _take(self, chunk: FrameChunk) -> None:
        """Every transport's sink. The gate, not the pipe's capacity, bounds what waits."""
        self._gate.take(chunk.size_bytes)
        self._frames_handed_on += len(chunk)
        self._chunks.put_nowait(chunk)

    def _convert(self, chunk: FrameChunk) -> None:
        self._decoder.decode(chunk, self._readings, is_replay=isinstance(chunk, ReplayChunk))
        self._resolver.resolve(self._readings, self._batch)

    def _on_durable(self, chunks: list[FrameChunk]) -> None:
        for chunk in chunks:
            if chunk.on_durable is not None:
                chunk.on_durable(chunk)
            self._gate.give_back(chunk.size_bytes)

    def _is_store_idle(self) -> bool:
        return self._spool_state.closed_bytes == self._write_state.taken_bytes and not self._write.is_slowed

    def _refuse(self, traffic: frozenset[Traffic]) -> None:
        bits = (GATEWAYS if Traffic.GATEWAYS in traffic else 0) | (DEVICES if Traffic.DEVICES in traffic else 0)
        self._mqtt.refuse(bits)

    async def _limit_quarantine(self) -> None:
        """A server has no store role of ours beside it; the embedded store looks after its own."""
        if self._store.url and not self._place.number:
            # Their metrics are ours only here.
            from store.quarantine_limit import keep_server_within_limits
            from store.rollup.schedule import keep_server_computed

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keep_server_within_limits(self._store, self._place.data_dir))
                tasks.create_task(keep_server_computed(self._store, self._place.data_dir))

    async def _deliver(self, device_id: bytes, topic: bytes, payload: bytes, qos: int) -> int:
        if self._fellows is not None:
            return await self._fellows.deliver(device_id, topic, payload, qos)
        return self._mqtt.deliver(device_id, topic, payload, qos)

    def _on_revoked(self, device_id: str) -> None:
        """A device that lost a token must connect again."""
        self._mqtt.kick(device_id.encode())
        self._grpc.kick(device_id)

    def _stage_counts(self) -> StageCounts:
        counters, resolver, columns = self._transport_counters(), self._resolver.counters, self._batch
        transient = self._decoder.sparkplug.transient
        return StageCounts(
            taken=messages_taken(counters),
            rejected={**messages_rejected(counters), **({TRANSIENT: transient} if transient else {})},
            handed_on=self._frames_handed_on,
            frames_waiting=sum(map(len, self._chunks.waiting)),
            frames_decoded=self._decoder.counters.items_in,
            decoded=self._decoder.counters.items_out,
            refused_by_decode=self._decoder.counters.refused,
            resolve_in=resolver.items_in,
            resolved=resolver.items_out,
            refused=resolver.refused,
            in_columns=columns.rows + columns.quarantined_readings,
            sealed=columns.sealed_readings,
            sealed_waiting=sum(sum(batch.readings) for batch in self._sealed.waiting),
            closed_waiting=sum(sum(segment.readings) for segment in self._closed.waiting),
        )

    def _transport_counters(self) -> dict[str, int]:
        bus = self._bus.counters if self._bus is not None else {}
        replay = {"replay_messages": self._replay.messages}
        return {**self._mqtt.counters(), **bus, **self._grpc.counters(), **self._broker.counters(), **replay}

    def _depths(self) -> dict[str, int]:
        return {
            "chunks": len(self._chunks),
            "sealed_batches": len(self._sealed),
            "segments": len(self._closed),
            "in_flight_bytes": self._gate.held_bytes,
        }

    def _readiness(self) -> dict[str, str]:
        missing = {}
        if not self._feed.is_loaded:
            missing["device_index"] = self._feed.problem
        if self._pressure.is_refusing_devices:
            missing["gate"] = f"the store or the disk is behind: {self._pressure.waiting}"
        if self._spool.problem:
            missing["spool"] = self._spool.problem
        if self._settings.broker.host and self._broker.problem:
            missing["broker"] = self._broker.problem
        return missing

    def _degraded(self) -> dict[str, str]:
        notes = {"device_index": self._feed.age, "gate": self._pressure.waiting, **self._write.problems()}
        notes["device_states"] = self._reporter.behind
        if not self._spool.is_on_disk:
            notes["spool"] = "in memory: what is acknowledged is lost with the process"
        age_s = self._backlog.oldest_age_s
        if age_s > self._settings.spool.max_age_s:
            notes["spool_age"] = f"the oldest segment has waited for the store for {age_s:.0f} s"
        return {what: text for what, text in notes.items() if text}


def _rates(rates: RateSettings) -> tuple[float, float, float]:
    return rates.messages_per_s, rates.bytes_per_s, rates.burst_s
