"""The device index's feed: a snapshot from the registry, then its changes, for as long as ingest runs."""

import asyncio
import random
from collections.abc import Callable

import grpc
import structlog

from cityfleet.registry.v1 import device_index_pb2 as pb
from cityfleet.registry.v1 import device_index_pb2_grpc as pb_grpc
from ext.telemetry.index import DeviceIndex
from ext.telemetry.type_decoder import TypeDecoder

log = structlog.get_logger()

_BACKOFF_S = (0.2, 5.0)
_Phase = pb.WatchDeviceIndexResponse.Phase


class IndexFeed:
    """Keeps `index` like the registry. While the registry is away the index stays as it was."""

    def __init__(
        self, index: DeviceIndex, registry: str, internal_token: str, on_revoked: Callable[[str], None]
    ) -> None:
        """`on_revoked` is called with the MQTT user name of who lost a token (`{device_id}`) or, for an operator
        (`operator:{name}`), a filter; the connections made under that name should end."""
        self._index = index
        self._registry = registry
        self._metadata = (("authorization", f"Bearer {internal_token}"),)
        self._on_revoked = on_revoked
        self._resume_token = ""
        self._metrics: dict[int, str] = {}
        self.is_loaded = False
        self.problem = "no snapshot from the registry yet"

    async def run(self) -> None:
        """Watch until cancelled; reconnect with jittered backoff."""
        delay_s = _BACKOFF_S[0]
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.keepalive_time_ms", 20_000)]
        async with grpc.aio.insecure_channel(self._registry, options=options) as channel:
            stub = pb_grpc.DeviceIndexServiceStub(channel)
            while True:
                try:
                    request = pb.WatchDeviceIndexRequest(resume_token=self._resume_token)
                    async for response in stub.WatchDeviceIndex(request, metadata=self._metadata):
                        self._apply(response)
                        delay_s = _BACKOFF_S[0]
                    self.problem = "the registry ended the watch"
                except grpc.aio.AioRpcError as exc:
                    self.problem = f"registry {self._registry}: {exc.code().name} {exc.details()}"
                    if exc.code() is grpc.StatusCode.OUT_OF_RANGE:
                        self._resume_token = ""
                log.warning("index_feed_retry", retry_s=round(delay_s, 2), reason=self.problem)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)
                delay_s = min(delay_s * 2, _BACKOFF_S[1])

    def _decoder(self, kind: pb.IndexType) -> TypeDecoder | None:
        metrics = [
            (entry.source or metric, metric, entry.source_unit, entry.metric_num)
            for entry in kind.metrics
            if (metric := self._metrics.get(entry.metric_num))
        ]
        try:
            return TypeDecoder(metrics, kind.decoder, kind.default_encoding)
        except (ValueError, KeyError) as exc:  # a registry that knows more than we do
            log.error("index_type_decoder_unknown", device_type=kind.device_type, reason=str(exc))
            return None

    def _apply(self, response: pb.WatchDeviceIndexResponse) -> None:
        index = self._index
        if response.is_first_of_snapshot:
            index.begin_snapshot()
        for metric in response.metrics:
            index.put_metric(metric.metric_num, metric.metric, metric.unit)
            self._metrics[metric.metric_num] = metric.metric
        for kind in response.types:
            metrics = [
                (
                    entry.metric_num,
                    entry.min_value if entry.HasField("min_value") else None,
                    entry.max_value if entry.HasField("max_value") else None,
                )
                for entry in kind.metrics
            ]
            index.put_type(
                kind.type_num, kind.device_type, kind.is_gateway, kind.default_encoding, metrics, self._decoder(kind)
            )
        for device in response.devices:
            is_revoked = index.put_device(
                device.device_num,
                device.device_id,
                device.type_num,
                device.ward_code,
                device.gateway_num,
                list(device.token_sha256),
                device.is_active,
                device.external_id,
            )
            if is_revoked:
                self._on_revoked(device.device_id)
        for operator in response.operators:
            if index.put_operator(
                operator.operator,
                operator.token_sha256,
                list(operator.subscribe_filters),
                list(operator.publish_filters),
                operator.is_active,
            ):
                self._on_revoked(f"operator:{operator.operator}")
        if response.phase == _Phase.PHASE_SNAPSHOT_COMPLETE:
            index.end_snapshot()
            self.is_loaded = True
            log.info("index_snapshot_loaded", devices=len(index))
        if response.resume_token:
            self._resume_token = response.resume_token
        self.problem = ""
