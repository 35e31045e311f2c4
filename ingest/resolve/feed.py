"""The device index's feed: what was kept on disk, then the registry's snapshot or changes while ingest runs."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_feed import DeviceStream
from ext.telemetry.index_image import parts_of, restore
from ext.telemetry.type_decoder import TypeDecoder
from ingest.metrics import INDEX_ENTRIES_REFUSED, INDEX_FILE_IGNORED, INDEX_SAVE_FAILURES
from ingest.resolve.index_file import IndexFile, IndexFileError
from ingest.resolve.spans import spans_of

log = structlog.get_logger()

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['DeviceIndexService'].full_name}/WatchDeviceIndex"
_BACKOFF_S = (0.2, 2.0)
# Devices put into the index before the loop has its turn again: about a millisecond.
_SLICE = 500
_SAVE_S = 300.0
_Entry = TypeVar("_Entry")
_Phase = pb.WatchDeviceIndexResponse.Phase


class _Catalogue:
    """What the registry said last of each metric, type and operator: few, and kept as they came, for the file."""

    def __init__(self) -> None:
        self.metrics: dict[int, pb.IndexMetric] = {}
        self.types: dict[int, pb.IndexType] = {}
        self.operators: dict[str, pb.IndexOperator] = {}

    def add(self, response: pb.WatchDeviceIndexResponse) -> None:
        self.metrics.update((metric.metric_num, metric) for metric in response.metrics)
        self.types.update((kind.type_num, kind) for kind in response.types)
        self.operators.update((operator.operator, operator) for operator in response.operators)

    def encoded(self) -> bytes:
        response = pb.WatchDeviceIndexResponse(
            metrics=self.metrics.values(),
            types=self.types.values(),
            operators=[operator for operator in self.operators.values() if operator.is_active],
        )
        return response.SerializeToString()


class IndexFeed:
    """Keeps `index` like the registry. While the registry is away the index stays as it was."""

    def __init__(
        self,
        index: DeviceIndex,
        registry: str,
        internal_token: str,
        on_revoked: Callable[[str], None],
        file: IndexFile | None = None,
    ) -> None:
        """`on_revoked` is called with the MQTT user name of who lost a token (`{device_id}`) or, for an operator
        (`operator:{name}`), a filter; the connections made under that name should end."""
        self._index = index
        self._registry = registry
        self._metadata = (("authorization", f"Bearer {internal_token}"),)
        self._on_revoked = on_revoked
        self._file = file
        self._resume_token = ""
        self._catalogue = _Catalogue()
        self._is_in_snapshot = False
        self._is_changed = False
        self._save_at = 0.0
        self._saved_ms = 0
        # The index can be used: it is like the registry is or, from a file, was.
        self.is_loaded = False
        self.problem = "no snapshot from the registry yet"

    @property
    def age(self) -> str:
        """Empty if the index is what the registry last said; else how old the file is that it came from."""
        if not self._saved_ms:
            return ""
        age_s = max(0, time.time_ns() // 1_000_000 - self._saved_ms) // 1000
        return f"from disk, age {age_s} s; {self.problem}"

    def load(self) -> None:
        """Fill the empty index from the file, if there is one that can be used."""
        if self._file is None:
            return
        started = time.monotonic()
        try:
            loaded = self._file.read()
            if loaded is None:
                return
            self._put_catalogue(loaded.catalogue)
            restore(self._index, loaded.parts)
        except (IndexFileError, DecodeError, ValueError) as exc:  # whatever it is that does not fit
            INDEX_FILE_IGNORED.inc()
            log.warning("index_file_ignored", reason=str(exc))
            return
        self._resume_token = loaded.resume_token
        self._saved_ms = loaded.saved_ms
        self.is_loaded = True
        log.info("index_loaded_from_disk", devices=len(self._index), seconds=round(time.monotonic() - started, 3))

    async def run(self) -> None:
        """Watch until cancelled, then save; reconnect with jittered backoff."""
        delay_s = _BACKOFF_S[0]
        options = [
            ("grpc.max_receive_message_length", 64 << 20),
            ("grpc.keepalive_time_ms", 20_000),
            # gRPC would wait up to two minutes between its own attempts, whatever ours are.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        try:
            async with grpc.aio.insecure_channel(self._registry, options=options) as channel:
                # Without a deserializer: the devices of a response are read from its bytes.
                watch = channel.unary_stream(_METHOD, pb.WatchDeviceIndexRequest.SerializeToString)
                while True:
                    try:
                        request = pb.WatchDeviceIndexRequest(resume_token=self._resume_token)
                        async for response in watch(request, metadata=self._metadata):
                            await self._apply(response)
                            delay_s = _BACKOFF_S[0]
                        self.problem = "the registry ended the watch"
                    except grpc.aio.AioRpcError as exc:
                        self.problem = f"registry {self._registry}: {exc.code().name} {exc.details()}"
                        if exc.code() is grpc.StatusCode.OUT_OF_RANGE:
                            self._resume_token = ""
                    except (DecodeError, ValueError) as exc:
                        self.problem = f"registry {self._registry}: not a response of the watch: {exc}"
                    await self._save()
                    log.warning("index_feed_retry", retry_s=round(delay_s, 2), reason=self.problem)
                    await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
                    delay_s = min(delay_s * 2, _BACKOFF_S[1])
        finally:
            await self._save()

    async def _apply(self, data: bytes) -> None:
        """One response of the watch. Raises: ValueError or DecodeError if it is none."""
        devices = DeviceStream(data)
        response = pb.WatchDeviceIndexResponse.FromString(devices.rest)
        if response.is_first_of_snapshot:
            self._index.begin_snapshot()
            self._catalogue = _Catalogue()
            self._is_in_snapshot = True
        self._put_catalogue(response)
        while len(devices):
            self._revoke(devices.apply(self._index, _SLICE))
            await asyncio.sleep(0)
            self._is_changed = True
        if devices.refused:
            INDEX_ENTRIES_REFUSED.labels("device").inc(devices.refused)
            log.error("index_entry_refused", kind="device", entries=devices.refused, first=devices.problem)
        if response.phase == _Phase.PHASE_SNAPSHOT_COMPLETE:
            self._revoke(self._index.end_snapshot())
            self._is_in_snapshot = False
            self._is_changed = True
            self._save_at = 0.0
            log.info("index_snapshot_loaded", devices=len(self._index))
        if response.resume_token:
            self._resume_token = response.resume_token
        self.problem = ""
        if not self._is_in_snapshot:
            self.is_loaded = True
            self._saved_ms = 0
            self._index.awaits_snapshot = False
        if time.monotonic() >= self._save_at:
            await self._save()

    def _put_catalogue(self, response: pb.WatchDeviceIndexResponse) -> None:
        """Metrics, types, operators. One that the index would not take does not hold up the others."""
        self._catalogue.add(response)
        for metric in response.metrics:
            self._try("metric", self._put_metric, metric)
        for kind in response.types:
            self._try("type", self._put_type, kind)
        for operator in response.operators:
            self._try("operator", self._put_operator, operator)
        self._is_changed = self._is_changed or bool(response.metrics or response.types or response.operators)

    def _try(self, kind: str, put: Callable[[_Entry], None], entry: _Entry) -> None:
        try:
            put(entry)
        except ValueError as exc:
            INDEX_ENTRIES_REFUSED.labels(kind).inc()
            log.error("index_entry_refused", kind=kind, entries=1, first=str(exc))

    def _put_metric(self, metric: pb.IndexMetric) -> None:
        self._index.put_metric(metric.metric_num, metric.metric, metric.unit)

    def _put_type(self, kind: pb.IndexType) -> None:
        metrics = [
            (
                entry.metric_num,
                entry.min_value if entry.HasField("min_value") else None,
                entry.max_value if entry.HasField("max_value") else None,
            )
            for entry in kind.metrics
        ]
        spans = {entry.metric_num: spans_of(entry.tests) for entry in kind.metrics if entry.HasField("tests")}
        encoding = kind.default_encoding
        self._index.put_type(
            kind.type_num, kind.device_type, kind.is_gateway, encoding, metrics, self._decoder(kind), spans
        )

    def _decoder(self, kind: pb.IndexType) -> TypeDecoder | None:
        known = self._catalogue.metrics
        metrics = [
            (entry.source or metric.metric, metric.metric, entry.source_unit, entry.metric_num)
            for entry in kind.metrics
            if (metric := known.get(entry.metric_num))
        ]
        try:
            return TypeDecoder(metrics, kind.decoder, kind.default_encoding)
        except (ValueError, KeyError) as exc:  # a registry that knows more than we do
            INDEX_ENTRIES_REFUSED.labels("decoder").inc()
            log.error("index_type_decoder_unknown", device_type=kind.device_type, reason=str(exc))
            return None

    def _put_operator(self, operator: pb.IndexOperator) -> None:
        filters = (list(operator.subscribe_filters), list(operator.publish_filters))
        if self._index.put_operator(operator.operator, operator.token_sha256, *filters, operator.is_active):
            self._on_revoked(f"operator:{operator.operator}")

    def _revoke(self, names: Iterable[str]) -> None:
        for name in names:
            self._on_revoked(name)

    async def _save(self) -> None:
        """Write the file, in a thread, if there is something new. Nothing may be put meanwhile: only this task puts."""
        if self._file is None or not self._is_changed or self._is_in_snapshot or not self._resume_token:
            return
        self._save_at = time.monotonic() + _SAVE_S
        parts = parts_of(self._index)
        try:
            await asyncio.to_thread(self._file.write, self._resume_token, self._catalogue.encoded(), parts)
        except OSError as exc:
            INDEX_SAVE_FAILURES.inc()
            log.error("index_save_failed", reason=str(exc))
            return
        self._is_changed = False
