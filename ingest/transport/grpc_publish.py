"""`TelemetryService.Publish`: requests of a stream to a chunk, and back how far they are durable."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import structlog

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.device_states import STREAM_ENDED, DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import AUTH_DECOMMISSIONED, AUTH_NOT_LOADED, DeviceIndex
from ext.telemetry.quota import Quota
from ext.telemetry.request_chunk import RequestChunk, RequestStream, SequenceError
from ingest.settings import GrpcSettings
from ingest.transport.gate import Gate, Traffic
from ingest.transport.grpc_refusal import RefusedError, refuse

log = structlog.get_logger()

_CHUNK_BYTES = 1 << 20
# While a stream has more under way, its acknowledgements are told together: each is a message with its own costs.
_ACK_INTERVAL_S = 0.01
# While the gate is shut each stream may have one request in hand; all of them together no more than this.
_WAITING_BYTES = 16_000_000
_LOOK_S = 0.25
# Clients that are sent away are told to come back in this many seconds, not all at once.
_RETRY_S = (5.0, 15.0)


class _Stream(RequestStream):
    """One client's stream; `refusal` says why it is ended by us."""

    changed: asyncio.Event
    reader: "asyncio.Task[None]"
    refusal: RefusedError | None

    def read(self, reader: "asyncio.Task[None]") -> None:
        """The reader has ended; if we go before we ask it why, its error must not count as forgotten."""
        if not reader.cancelled():
            reader.exception()
        self.changed.set()

    def end(self, refusal: RefusedError) -> None:
        """Read no more; the client hears of what becomes durable, then why."""
        if self.refusal is None:
            self.refusal = refusal
            self.reader.cancel()


class PublishService:
    """Serves streams while the gate is open; HTTP/2's windows hold a client back while it is shut.

    A gate that stays shut sends clients away, to come back; so does a request above its sender's quota.

    Chunks must become durable in the order in which they were given to `sink`.
    """

    def __init__(
        self,
        settings: GrpcSettings,
        gather_ms: float,
        index: DeviceIndex,
        gate: Gate,
        sink: Callable[[FrameChunk], None],
        counters: Counter[str],
        quota: Quota | None = None,
        states: DeviceStates | None = None,
    ) -> None:
        self._settings = settings
        self._gather_s = gather_ms / 1000
        self._index = index
        self._gate = gate
        self._sink = sink
        self._counters = counters
        self._quota = quota
        self._states = states
        self._waiting_bytes = 0
        self._streams: dict[int, set[_Stream]] = {}
        self._open = 0
        self._is_leaving = False
        self._chunk = RequestChunk("grpc", self._on_durable)
        self._timer: asyncio.TimerHandle | None = None
        # Of streams that have ended; those that are open have theirs.
        self._requests = 0

    async def publish(self, _: object, context: Any) -> None:
        """The handler of the method."""
        try:
            stream = self._admit(context)
        except RefusedError as exc:
            self._counters[f"grpc_refused.{exc.reason.lower()}"] += 1
            await refuse(context, exc)
        self._counters["grpc_streams"] += 1
        self._open += 1
        stream.reader = asyncio.create_task(self._read(context, stream), name="grpc_read")
        stream.reader.add_done_callback(stream.read)
        try:
            await self._acknowledge(context, stream)
            if not stream.reader.cancelled():
                await stream.reader
        except asyncio.CancelledError:
            remaining = context.time_remaining()
            expired = remaining is not None and remaining <= 0
            self._counters["grpc_deadline_exceeded" if expired else "grpc_cancelled"] += 1
            raise
        except RefusedError as exc:
            stream.refusal = exc
        finally:
            stream.reader.cancel()
            self._forget(stream)
        if stream.refusal is not None:
            self._counters[f"grpc_refused.{stream.refusal.reason.lower()}"] += 1
            await refuse(context, stream.refusal)

    def _admit(self, context: Any) -> _Stream:
        """Who it is and whether there is room. Raises: RefusedError."""
        if self._is_leaving:
            raise _leaving()
        metadata = dict(context.invocation_metadata() or ())
        device_id = str(metadata.get("cf-device-id", ""))
        token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
        slot = self._index.authenticate(device_id.encode(), token.encode())
        if slot < 0:
            log.warning("grpc_unauthenticated", device=device_id[:63], code=slot)
            self._counters["grpc_unauthenticated"] += 1
            if slot == AUTH_NOT_LOADED:
                raise RefusedError(
                    grpc.StatusCode.UNAVAILABLE, "DEVICES_NOT_LOADED", "devices not loaded yet, come back"
                )
            if slot == AUTH_DECOMMISSIONED:
                raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, "DECOMMISSIONED", "this device is decommissioned")
            raise RefusedError(
                grpc.StatusCode.UNAUTHENTICATED,
                "BAD_CREDENTIALS",
                "unknown device or wrong token: send metadata `cf-device-id` and `authorization: Bearer <token>`",
            )
        if self._gate.refuses(Traffic.GATEWAYS):
            raise _busy()
        settings = self._settings
        for limit, now, whose in (
            (settings.max_streams_per_device, len(self._streams.get(slot, ())), "of this device"),
            (settings.max_streams, self._open, "of all devices"),
        ):
            if now >= limit:
                raise RefusedError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "TOO_MANY_STREAMS",
                    f"{now} streams {whose} are open, which is the limit; close one or come back",
                    limit=str(limit),
                )
        stream = _Stream(slot)
        stream.changed, stream.refusal = asyncio.Event(), None
        self._streams.setdefault(slot, set()).add(stream)
        if self._states is not None:
            self._states.open(slot)
        return stream

    def _forget(self, stream: _Stream) -> None:
        of_device = self._streams[stream.sender]
        of_device.discard(stream)
        if not of_device:
            del self._streams[stream.sender]
        self._open -= 1
        if self._states is not None:
            self._states.close(stream.sender, STREAM_ENDED)
        self._requests += stream.requests

    async def _read(self, context: Any, stream: _Stream) -> None:
        """Add every request to the current chunk. Raises: RefusedError."""
        gate, quota, eof = self._gate, self._quota, grpc.aio.EOF
        while (request := await context.read()) is not eof:
            if not gate.is_open_for(Traffic.GATEWAYS):
                await self._wait(len(request))
            if quota is not None and (over_s := quota.take(stream.sender, len(request))):
                self._counters["grpc_rejected.quota"] += 1
                raise _over_quota(self._index.device_id(stream.sender), over_s, stream.received)
            chunk = self._chunk
            try:
                chunk.take(stream, request)
            except ValueError as exc:
                is_sequence = isinstance(exc, SequenceError)
                raise RefusedError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "SEQUENCE_NOT_INCREASING" if is_sequence else "MALFORMED_REQUEST",
                    f"{exc} (the last that was taken: {stream.received})",
                    received_sequence=str(stream.received),
                ) from exc
            if chunk.size_bytes >= _CHUNK_BYTES:
                self.flush()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._gather_s, self.flush)

    async def _wait(self, size_bytes: int) -> None:
        """For the gate, with a request in hand. Raises: RefusedError if that takes too long, or too many wait."""
        gate = self._gate
        self._waiting_bytes += size_bytes
        try:
            gate.account("requests", self._waiting_bytes)
            while not gate.is_open_for(Traffic.GATEWAYS):
                if self._waiting_bytes > _WAITING_BYTES or gate.refuses(Traffic.GATEWAYS):
                    self._counters["grpc_rejected.busy"] += 1
                    raise _busy()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await gate.wait_open(Traffic.GATEWAYS)
        finally:
            self._waiting_bytes -= size_bytes
            gate.account("requests", self._waiting_bytes)

    async def _acknowledge(self, context: Any, stream: _Stream) -> None:
        """Tell what is durable until the reader has ended and all that it took is told."""
        told = 0
        while True:
            await stream.changed.wait()
            stream.changed.clear()
            if told < stream.durable < stream.received and not stream.reader.done():
                await asyncio.sleep(_ACK_INTERVAL_S)
            # Before what is durable is looked at: a request taken meanwhile must not be left untold.
            ended = stream.reader.done()
            if stream.durable > told:
                told = stream.durable
                await context.write(telemetry_pb2.PublishResponse(acked_sequence=told))
                self._counters["grpc_acks"] += 1
            # Whoever is sent away because nothing becomes durable must not be made to wait for just that.
            if ended and (told == stream.received or self._gate.refuses(Traffic.GATEWAYS)):
                return
            if stream.durable > told:
                stream.changed.set()

    def _on_durable(self, chunk: FrameChunk) -> None:
        assert isinstance(chunk, RequestChunk)
        for stream in chunk.settle():
            stream.changed.set()

    def flush(self) -> None:
        """Hand the current chunk on, if it has frames."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        chunk = self._chunk
        if len(chunk):
            self._chunk = RequestChunk("grpc", self._on_durable)
            self._sink(chunk)

    def stop_reading(self) -> None:
        """Take no more, for good. Streams end for their clients once what they sent is acknowledged."""
        self._is_leaving = True
        for stream in list(self._all()):
            stream.end(_leaving())
        self.flush()

    def kick(self, slot: int) -> int:
        """End the streams of a device that lost its token. Returns how many there were."""
        streams = list(self._streams.get(slot, ()))
        for stream in streams:
            stream.end(
                RefusedError(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED", "the token was revoked: connect again")
            )
        return len(streams)

    def _all(self) -> Iterator[_Stream]:
        for streams in self._streams.values():
            yield from streams

    @property
    def requests(self) -> int:
        """Requests taken so far."""
        return self._requests + sum(stream.requests for stream in self._all())

    @property
    def streams(self) -> int:
        """Open now."""
        return self._open


def _busy() -> RefusedError:
    return RefusedError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SERVER_BUSY",
        "the disk or the store is behind: come back later and send what was not acknowledged",
        retry_s=random.uniform(*_RETRY_S),  # noqa: S311 (jitter)
    )


def _over_quota(device_id: str, over_s: float, received: int) -> RefusedError:
    return RefusedError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "QUOTA_EXCEEDED",
        f"more than this device may send: come back and send what follows {received}",
        retry_s=over_s + random.uniform(0.0, 1.0),  # noqa: S311 (jitter)
        quota=f"devices/{device_id}",
        received_sequence=str(received),
    )


def _leaving() -> RefusedError:
    return RefusedError(
        grpc.StatusCode.UNAVAILABLE,
        "SHUTTING_DOWN",
        "this server is going away: connect again and send what was not acknowledged",
    )
