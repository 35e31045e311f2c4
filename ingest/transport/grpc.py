"""The gRPC transport: `TelemetryService.Publish` for devices, `DownlinkService.Deliver` for our own services.

Requests of the stream stay bytes: only their sequence is read here, the batch inside is decoded in Cython.
"""

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cityfleet.telemetry.v1 import downlink_pb2, telemetry_pb2
from ext.telemetry.batch import split_publish_request
from ext.telemetry.frames import ENCODING_NAMES, SCOPES, FrameChunk
from ext.telemetry.index import AUTH_NOT_LOADED, DeviceIndex
from ingest.errors import ConfigError
from ingest.settings import GrpcSettings
from ingest.transport.gate import Gate
from ingest.transport.gather import Gatherer

log = structlog.get_logger()

_TELEMETRY = telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"].full_name
_DOWNLINK = downlink_pb2.DESCRIPTOR.services_by_name["DownlinkService"].full_name
_BATCH = ENCODING_NAMES["batch"]
_DOWNLINK_SUBTOPICS = frozenset({"commands", "config", "firmware"})

# deliver(device_id, topic, payload, qos) -> connections that were given the message
Deliver = Callable[[bytes, bytes, bytes, int], Awaitable[int]]


class _Stream:
    """One client's stream: the highest sequence that is durable, and whether the client has ended."""

    def __init__(self) -> None:
        self.received = 0
        self.durable = 0
        self.ended = False
        self.changed = asyncio.Event()


class GrpcTransport:
    """Serves until `close`. Counters are plain ints by event name."""

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
    ) -> None:
        self._settings = settings
        self._index = index
        self._gate = gate
        self._deliver = deliver
        self._internal_token = internal_token
        self._gatherer = Gatherer("grpc", gather_ms, self._on_durable, sink)
        self._waiting: dict[int, tuple[_Stream, int]] = {}
        self._next_ref = 1
        self.counters: Counter[str] = Counter()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.so_reuseport", int(shares_port)),
            ]
        )

    async def start(self) -> int:
        """Listen; returns the port. Raises: ConfigError if the address cannot be used."""
        publish = grpc.stream_stream_rpc_method_handler(
            self._publish, response_serializer=telemetry_pb2.PublishResponse.SerializeToString
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
            )
        )
        health_servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        names = (_TELEMETRY, _DOWNLINK, health.SERVICE_NAME, reflection.SERVICE_NAME)
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
        self._gatherer.flush()

    async def close(self, grace_s: float = 1.0) -> None:
        await self._server.stop(grace_s)

    async def _publish(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, telemetry_pb2.PublishResponse]
    ) -> AsyncIterator[telemetry_pb2.PublishResponse]:
        sender = await self._authenticate(context)
        self.counters["grpc_streams"] += 1
        stream = _Stream()
        reader = asyncio.create_task(self._read(requests, stream, sender), name="grpc_read")
        acked = 0
        try:
            while True:
                await stream.changed.wait()
                stream.changed.clear()
                if stream.durable > acked:
                    acked = stream.durable
                    yield telemetry_pb2.PublishResponse(acked_sequence=acked)
                # Against what was sent, not what is durable: while we yield, more becomes durable.
                if stream.ended and acked == stream.received:
                    break
            await reader
        except _BadRequestError as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[bytes], stream: _Stream, sender: int) -> None:
        """Add every request to the current chunk. Raises: _BadRequestError."""
        try:
            async for request in requests:
                await self._gate.wait_open()
                self._take(request, stream, sender)
        finally:
            stream.ended = True
            stream.changed.set()

    def _take(self, request: bytes, stream: _Stream, sender: int) -> None:
        try:
            sequence, start, size = split_publish_request(request)
        except ValueError as exc:
            raise _BadRequestError(f"after sequence {stream.received}: not a PublishRequest: {exc}") from exc
        if sequence <= stream.received:
            raise _BadRequestError(f"sequence {sequence} after {stream.received}: sequences must increase, from 1")
        stream.received = sequence
        ref, self._next_ref = self._next_ref, self._next_ref + 1
        self._waiting[ref] = (stream, sequence)
        self.counters["grpc_messages"] += 1
        self._gatherer.chunk().add(
            b"",
            request[start : start + size],
            sender=sender,
            encoding=_BATCH,
            scope=SCOPES["gateway"],
            received_ms=time.time_ns() // 1_000_000,
            ack_ref=ref,
        )
        self._gatherer.added()

    def _on_durable(self, chunk: FrameChunk) -> None:
        for ref in chunk.ack_refs():
            stream, sequence = self._waiting.pop(ref)
            stream.durable = sequence
            stream.changed.set()

    async def _authenticate(self, context: grpc.aio.ServicerContext[bytes, telemetry_pb2.PublishResponse]) -> int:
        metadata = dict(context.invocation_metadata() or ())
        device_id = str(metadata.get("cf-device-id", ""))
        token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        slot = self._index.authenticate(device_id.encode(), token.encode())
        if slot < 0:
            self.counters["grpc_unauthenticated"] += 1
            log.warning("grpc_unauthenticated", device=device_id[:63], code=slot)
            if slot == AUTH_NOT_LOADED:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "devices not loaded yet, come back")
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "unknown device or wrong token: send metadata `cf-device-id` and `authorization: Bearer <token>`",
            )
        return slot

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


class _BadRequestError(Exception):
    """The client broke the stream's rules; its text is for the client."""
