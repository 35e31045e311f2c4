"""A device over the gRPC stream: the acknowledgement of a sequence is one of all before it."""

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.fault.link import Link
from loadtest.fault.sequence import varint

if TYPE_CHECKING:
    from loadtest.fault.publisher import Fleet

_PUBLISH = "/cityfleet.telemetry.v1.TelemetryService/Publish"
_AGAIN_S = 0.1
# Its own connection, tried again at once: gRPC would wait longer and longer for an address that was away.
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class GrpcLink(Link):
    """One stream; `connects_refused` of the fleet counts by the number of gRPC's status."""

    def __init__(self, fleet: "Fleet", address: str, user: str, token: str, window: int) -> None:
        super().__init__(fleet, user, token, window)
        self._address = address
        self._sequence = 0
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self.user)

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def send(self, most: int) -> int:
        count = 0
        most = min(most, self._window - len(self._in_flight))
        while count < most and (picked := self._pick()) is not None:
            self._sequence += 1
            self._in_flight[self._sequence] = picked
            payload = self._fleet.payload(*picked)
            # PublishRequest: sequence, batch.
            self._requests.put_nowait(
                b"".join((b"\x08", varint(self._sequence), b"\x12", varint(len(payload)), payload))
            )
            count += 1
        return count

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self._address, options=_OPTIONS) as channel:
            publish = channel.stream_stream(_PUBLISH, response_deserializer=telemetry_pb2.PublishResponse.FromString)
            while True:
                pause_s = _AGAIN_S
                try:
                    await channel.channel_ready()
                    await self._stream(publish)
                except grpc.aio.AioRpcError as exc:
                    self._fleet.connects_refused[exc.code().value[0]] += 1
                    pause_s = _told_pause_s(exc)
                    self._fleet.told("stream ended", self.user, code=exc.code().name, retry_s=pause_s)
                finally:
                    self._lost()
                await asyncio.sleep(pause_s)

    async def _stream(self, publish: grpc.aio.StreamStreamMultiCallable) -> None:
        self._sequence, self._requests = 0, asyncio.Queue()
        call = publish(metadata=(("cf-device-id", self.user), ("authorization", f"Bearer {self._token}")))
        writing = asyncio.create_task(self._write(call, self._requests))
        try:
            self.is_open = True
            self._fleet.connects += 1
            self._fleet.told("connected", self.user)
            async for response in call:
                now = time.monotonic()
                while self._in_flight and (first := next(iter(self._in_flight))) <= response.acked_sequence:
                    self._fleet.settled(*self._in_flight.pop(first), 0, now)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            call.cancel()

    async def _write(self, call: grpc.aio.StreamStreamCall, requests: "asyncio.Queue[bytes]") -> None:
        while True:
            await call.write(await requests.get())


def _told_pause_s(exc: grpc.aio.AioRpcError) -> float:
    """The wait that google.rpc.RetryInfo asks for; a moment if there is none."""
    for key, value in exc.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.RetryInfo()
                if detail.Unpack(info):
                    return max(_AGAIN_S, float(info.retry_delay.seconds) + float(info.retry_delay.nanos) / 1e9)
    return _AGAIN_S
