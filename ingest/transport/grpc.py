"""The gRPC transport: `TelemetryService.Publish` for devices, `DownlinkService.Deliver` for our own services.

Requests of the stream stay bytes: ext/telemetry reads their sequence and decodes the batch inside.
"""

import hmac
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cityfleet.telemetry.v1 import downlink_pb2, telemetry_pb2
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota
from ingest.errors import ConfigError
from ingest.settings import GrpcSettings
from ingest.transport.gate import Gate
from ingest.transport.grpc_publish import PublishService

_TELEMETRY = telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name
_DOWNLINK = downlink_pb2.DESCRIPTOR.services_by_name["DownlinkService"].full_name
_MAX_METADATA_BYTES = 16_384
_DOWNLINK_SUBTOPICS = frozenset({"commands", "config", "firmware"})

# deliver(device_id, topic, payload, qos) -> connections that were given the message
Deliver = Callable[[bytes, bytes, bytes, int], Awaitable[int]]


class Service(Protocol):
    """A service of the platform's own on the same server."""

    name: str

    def handler(self) -> grpc.GenericRpcHandler: ...
    def stop_reading(self) -> None: ...


class GrpcTransport:
    """Serves until `close`."""

    def __init__(
        self,
        settings: GrpcSettings,
        gather_ms: float,
        index: DeviceIndex,
        gate: Gate,
        sink: Callable[[FrameChunk], None],
        deliver: Deliver,
        internal_token: str,
        *,
        shares_port: bool = False,
        quota: Quota | None = None,
        services: Sequence[Service] = (),
        states: DeviceStates | None = None,
    ) -> None:
        """
        Args:
            services: what else the server offers, by full name.
            states: told whose streams begin and end.
        """
        self._settings = settings
        self._services = services
        self._index = index
        self._gate = gate
        self._deliver = deliver
        self._internal_token = internal_token
        self._counters: Counter[str] = Counter()
        self._publishing = PublishService(settings, gather_ms, index, gate, sink, self._counters, quota, states)
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(shares_port)),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
                ("grpc.max_concurrent_streams", settings.max_streams_per_connection),
                # What a client may send ahead of what we read, so what waits in memory outside the gate: a stream's
                # window, which may not grow by itself, and one message.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", settings.window_bytes),
                # A peer that is gone is found by pings; those of clients are welcome every 10 s.
                ("grpc.keepalive_time_ms", round(settings.keepalive_s * 1000)),
                ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_s * 1000)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
            ]
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises: ConfigError if the address cannot be used."""
        publish = grpc.stream_stream_rpc_method_handler(
            self._publishing.publish, response_serializer=telemetry_pb2.PublishResponse.SerializeToString
        )
        deliver = grpc.unary_unary_rpc_method_handler(
            self._deliver_downlink,
            request_deserializer=downlink_pb2.DeliverRequest.FromString,
            response_serializer=downlink_pb2.DeliverResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(_TELEMETRY, {"Publish": publish}),
                grpc.method_handlers_generic_handler(_DOWNLINK, {"Deliver": deliver}),
                *(service.handler() for service in self._services),
            )
        )
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        own = (_TELEMETRY, _DOWNLINK, *(service.name for service in self._services))
        names = (*own, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        for name in ("", *names):
            await health_servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as exc:
            raise ConfigError(f"ingest.grpc: cannot listen on {address}: is the port in use?") from exc
        await self._server.start()
        return int(port)

    async def stop_reading(self) -> None:
        """Take no more requests: streams end for their clients once what they sent is acknowledged."""
        self._publishing.stop_reading()
        for service in self._services:
            service.stop_reading()

    async def close(self, grace_s: float = 2.0) -> None:
        """End what is still open; streams whose requests are durable have been told so before."""
        await self._server.stop(grace_s)

    def kick(self, device_id: str) -> int:
        """End the streams of a device that lost its token. Returns how many there were."""
        slot = self._index.find_device(device_id)
        return self._publishing.kick(slot) if slot >= 0 else 0

    def counters(self) -> dict[str, int]:
        """By event name; `grpc_open_streams` says how many there are now."""
        return {
            **self._counters,
            "grpc_messages": self._publishing.requests,
            "grpc_open_streams": self._publishing.streams,
        }

    async def _deliver_downlink(
        self,
        request: downlink_pb2.DeliverRequest,
        context: grpc.aio.ServicerContext[downlink_pb2.DeliverRequest, downlink_pb2.DeliverResponse],
    ) -> downlink_pb2.DeliverResponse:
        metadata = dict(context.invocation_metadata() or ())
        given = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._internal_token.encode()):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "send metadata `authorization: Bearer <internal token>`"
            )
        if request.subtopic not in _DOWNLINK_SUBTOPICS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, f"subtopic: one of {', '.join(sorted(_DOWNLINK_SUBTOPICS))}"
            )
        if request.qos > 1:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "qos: 0 or 1")
        if self._index.find_device(request.device_id) < 0:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"device_id: no device {request.device_id!r}")
        topic = f"cf/v1/d/{request.device_id}/{request.subtopic}"
        given_to = await self._deliver(request.device_id.encode(), topic.encode(), request.payload, request.qos)
        return downlink_pb2.DeliverResponse(deliveries=given_to)
