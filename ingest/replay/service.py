"""`ReplayService.Replay`: frames of quarantine judged one by one; the good ones are taken, answered when durable."""

import asyncio
import hmac
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from prometheus_client import Counter

from cityfleet.telemetry.v1 import replay_pb2 as pb
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ingest.replay.judge import Judge, Message, ReplayChunk, Verdict

log = structlog.get_logger()

REPLAYED_PAYLOADS = Counter(
    "cityfleet_ingest_replayed_payloads",
    "Payloads of quarantine that were sent again, by what became of them.",
    ["outcome"],
)
REPLAYED_READINGS = Counter("cityfleet_ingest_replayed_readings", "Readings of payloads taken in from quarantine.")
# Judged before the loop has its turn.
_AT_ONCE = 100
_GATE_S = 10.0
_CALLS = 4
_TRANSPORTS = frozenset({"mqtt", "grpc", "broker"})


class ReplayService:
    """Frames wait for the gate as those of transports do; `sink` takes them when it is open."""

    name: str = pb.DESCRIPTOR.services_by_name["ReplayService"].full_name

    def __init__(
        self,
        index: DeviceIndex,
        judge: Judge,
        wait_open: Callable[[], Awaitable[object]],
        sink: Callable[[FrameChunk], None],
        internal_token: str,
    ) -> None:
        self._index = index
        self._judge = judge
        self._wait_open = wait_open
        self._sink = sink
        self._internal_token = internal_token
        self._calls = asyncio.Semaphore(_CALLS)
        self._is_leaving = False
        # That were taken.
        self.messages = 0

    def handler(self) -> grpc.GenericRpcHandler:
        replay = grpc.unary_unary_rpc_method_handler(
            self._replay,
            request_deserializer=pb.ReplayRequest.FromString,
            response_serializer=pb.ReplayResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(self.name, {"Replay": replay})

    def stop_reading(self) -> None:
        """Take no more, for good; calls whose frames were taken are answered when those are durable."""
        self._is_leaving = True

    async def _replay(self, request: pb.ReplayRequest, context: Any) -> pb.ReplayResponse:
        given = str(dict(context.invocation_metadata() or ()).get("authorization", "")).removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._internal_token.encode()):
            text = "send metadata `authorization: Bearer <internal token>`"
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)
        if self._index.awaits_snapshot:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "DEVICES_NOT_LOADED: devices not loaded yet, come back")
        async with self._calls:
            messages = [_message(frame) for frame in request.frames]
            verdicts = await self._verdicts(messages)
            if not request.validate_only:
                await self._take(messages, verdicts, context)
        return pb.ReplayResponse(
            outcomes=[
                pb.ReplayOutcome(
                    readings=verdict.readings, reason=verdict.reason, detail=verdict.detail, encoding=verdict.encoding
                )
                for verdict in verdicts
            ]
        )

    async def _verdicts(self, messages: list[Message]) -> list[Verdict]:
        found = []
        for at, message in enumerate(messages, start=1):
            found.append(self._judge.judge(message))
            if at % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _take(self, messages: list[Message], verdicts: list[Verdict], context: Any) -> None:
        """The good ones, as they came: on return they are durable."""
        try:
            async with asyncio.timeout(_GATE_S):
                await self._wait_open()
        except TimeoutError:
            text = "BUSY: too much is under way, the store or the disk is behind: come back"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if self._is_leaving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN: this server is going away, come back")
        by_transport: defaultdict[str, list[tuple[Message, Verdict]]] = defaultdict(list)
        for message, verdict in zip(messages, verdicts, strict=True):
            if not verdict.reason:
                label = message.transport if message.transport in _TRANSPORTS else "replay"
                by_transport[label].append((message, verdict))
        durable = [self._send(transport, good) for transport, good in by_transport.items()]
        # A client that leaves does not take them back.
        await asyncio.gather(*map(asyncio.shield, durable))
        taken = sum(map(len, by_transport.values()))
        REPLAYED_PAYLOADS.labels("taken").inc(taken)
        REPLAYED_PAYLOADS.labels("stays").inc(len(messages) - taken)
        REPLAYED_READINGS.inc(sum(verdict.readings for verdict in verdicts))
        log.info("quarantine_replayed", taken=taken, stay=len(messages) - taken)

    def _send(self, transport: str, good: list[tuple[Message, Verdict]]) -> "asyncio.Future[None]":
        """Hand a chunk on, without another turn of the loop in between; done when it is durable."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(_: FrameChunk) -> None:
            durable.set_result(None)

        chunk = ReplayChunk(transport, settle)
        for message, verdict in good:
            verdict.placed.add_to(chunk, message)
        self.messages += len(chunk)
        self._sink(chunk)
        return durable


def _message(frame: pb.ReplayFrame) -> Message:
    return Message(
        frame.topic,
        frame.payload,
        frame.device_id,
        frame.transport,
        frame.encoding,
        frame.reason,
        frame.received_ms,
    )
