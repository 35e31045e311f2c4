"""Tells the registry every few seconds what is new of devices. While it is away, only the newest of each is kept."""

import asyncio
import random
import time

import grpc
import structlog

from cityfleet.registry.v1 import device_state_pb2 as pb
from ext.telemetry.device_states import DeviceStates

log = structlog.get_logger()

_METHOD = f"/{pb.DESCRIPTOR.services_by_name['DeviceStateService'].full_name}/ReportDeviceStates"
_BACKOFF_S = (0.2, 5.0)
_ANSWER_S = 60.0
# Said at least so often that we are there: the registry gives up a node that is silent for a minute.
_GREET_S = 15.0
# After so long without an answer it may have done that.
_LOST_S = 40.0
# Behind for so long it is worth saying.
_BEHIND_S = 60.0


class StateReporter:
    """One request is under way at a time; it is sent again until it is answered."""

    def __init__(self, states: DeviceStates, registry: str, internal_token: str, interval_s: float) -> None:
        self._states = states
        self._registry = registry
        self._metadata = (("authorization", f"Bearer {internal_token}"),)
        self._interval_s = interval_s
        self._leaving = asyncio.Event()
        self._request = b""
        self._began_s = self._answered_s = time.monotonic()
        self._has_answer = False
        self.accepted = 0
        self.documents_refused = 0
        self.requests_refused = 0
        self.problem = "nothing was told yet"

    @property
    def behind(self) -> str:
        """Empty unless the registry has not answered for a while."""
        silent_s = time.monotonic() - self._answered_s
        return f"not told for {silent_s:.0f} s; {self.problem}" if silent_s > _BEHIND_S else ""

    @property
    def answer_age_s(self) -> float:
        """Since the registry last took what we told, or since the start."""
        return time.monotonic() - self._answered_s

    def leave(self) -> None:
        """Tell what there is once more, then `run` returns; at once if the registry is away."""
        self._leaving.set()

    async def run(self) -> None:
        """Report until leave() is called; reconnect with jittered backoff."""
        delay_s = _BACKOFF_S[0]
        options = [
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        async with grpc.aio.insecure_channel(self._registry, options=options) as channel:
            # Without a serializer: requests are written by ext/telemetry, with no object for a report.
            report = channel.stream_stream(_METHOD, response_deserializer=pb.ReportDeviceStatesResponse.FromString)
            while True:
                before_s = self._answered_s
                stream = report(metadata=self._metadata)
                try:
                    await self._serve(stream)
                    return
                except grpc.aio.AioRpcError as exc:
                    self.problem = f"registry {self._registry}: {exc.code().name} {exc.details()}"
                    if exc.code() is grpc.StatusCode.INVALID_ARGUMENT and self._request:
                        # It would be refused for ever, and all that comes behind it with it.
                        self.requests_refused += 1
                        self._request = b""
                        self._states.refused()
                        log.error("device_states_refused", reason=self.problem)
                except (TimeoutError, EOFError, asyncio.InvalidStateError) as exc:
                    self.problem = f"registry {self._registry}: {exc or 'no answer'}"
                finally:
                    stream.cancel()
                if self._answered_s != before_s:
                    delay_s = _BACKOFF_S[0]
                log.warning("device_states_retry", retry_s=round(delay_s, 2), reason=self.problem)
                if await self._pause(delay_s * random.uniform(0.5, 1.5)):  # noqa: S311 (jitter)
                    return
                delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _serve(self, stream: "grpc.aio.StreamStreamCall[bytes, pb.ReportDeviceStatesResponse]") -> None:
        if self._has_answer and time.monotonic() - self._answered_s > _LOST_S:
            self._states.tell_connections_again()
        if self._request:
            await self._send(stream, self._request)
        while True:
            due_s = time.monotonic() + self._interval_s
            is_last = self._leaving.is_set()
            self._states.begin_round()
            while self._states.left:
                if request := self._states.next_request():
                    await self._send(stream, request)
                else:
                    await asyncio.sleep(0)
            if not self._has_answer or time.monotonic() - self._answered_s > _GREET_S:
                await self._send(stream, self._states.greeting())
            if is_last:
                return
            await self._pause(due_s - time.monotonic())

    async def _send(
        self, stream: "grpc.aio.StreamStreamCall[bytes, pb.ReportDeviceStatesResponse]", request: bytes
    ) -> None:
        """Raises: TimeoutError, EOFError if the registry ended the stream, AioRpcError."""
        self._request = request
        async with asyncio.timeout(_ANSWER_S):
            await stream.write(request)
            response = await stream.read()
        if not isinstance(response, pb.ReportDeviceStatesResponse):
            raise EOFError("it ended the stream")
        self._request = b""
        self._states.answered()
        self._answered_s = time.monotonic()
        self._has_answer = True
        self.problem = ""
        self.accepted += response.accepted
        if response.refused_documents:
            self.documents_refused += response.refused_documents
            log.warning("state_documents_refused", documents=response.refused_documents)

    async def _pause(self, seconds: float) -> bool:
        """Whether it is time to leave."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._leaving.wait()
        except TimeoutError:
            return False
        return True
