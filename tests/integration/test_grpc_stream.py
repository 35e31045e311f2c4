"""The gRPC stream: acknowledgements, limits, refusals with details, cancellation, backpressure, leaving."""

import asyncio
import contextlib

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.quota import Quota
from ingest.settings import GrpcSettings, Watermarks
from ingest.transport.gate import Gate
from ingest.transport.grpc import GrpcTransport
from tests.support.mqtt_server import fleet

METHOD = "/cityfleet.telemetry.v1.TelemetryService/Publish"
DEADLINE_S = 60.0


def request(sequence, size=10):
    return telemetry_pb2.PublishRequest(
        sequence=sequence, batch=telemetry_pb2.ReadingBatch(metrics=["water_level_m"], value=[float(sequence)] * size)
    ).SerializeToString()


class Serving:
    """The transport with a sink that keeps chunks; `release()` makes them durable."""

    def __init__(self, limit_bytes, settings, quota, refuse_after_s):
        self.index = fleet()
        self.gate = Gate(limit_bytes, Watermarks(gateways=1.0, refuse_after_s=refuse_after_s))
        self.held, self.acks, self.taken = [], True, 0
        self.transport = GrpcTransport(
            GrpcSettings(port=0, **settings),
            1.0,
            self.index,
            self.gate,
            self._take,
            lambda *_: 0,
            "internal",
            quota=Quota(self.index, quota, (0, 0, 0)),
        )

    def _take(self, chunk):
        self.gate.take(chunk.size_bytes)
        self.taken += len(chunk)
        self.held.append(chunk)
        if self.acks:
            self.release()

    def release(self):
        held, self.held = self.held, []
        for chunk in held:
            chunk.on_durable(chunk)
            self.gate.give_back(chunk.size_bytes)

    def count(self, name):
        return self.transport.counters().get(name, 0)

    async def until(self, condition):
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.transport.counters()
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(limit_bytes=64_000_000, quota=(0, 0, 0), refuse_after_s=60.0, **settings):
    one = Serving(limit_bytes, settings, quota, refuse_after_s)
    one.port = await one.transport.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{one.port}") as channel:
            one.channel = channel
            yield one
    finally:
        await one.transport.close(0)


def open_stream(server, device="wl-1", token=None, timeout=DEADLINE_S):
    call = server.channel.stream_stream(METHOD, None, telemetry_pb2.PublishResponse.FromString)
    metadata = (("cf-device-id", device), ("authorization", f"Bearer {token or 'token-' + device}"))
    return call(metadata=metadata, timeout=timeout)


async def acked(stream):
    answer = await stream.read()
    return answer if answer is grpc.aio.EOF else answer.acked_sequence


async def acked_up_to(stream, sequence):
    while (found := await acked(stream)) < sequence:
        pass
    assert found == sequence


async def refusal(stream):
    """(code, reason, text) of a stream that the server ends."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as exc:
        status = rpc_status.from_call(exc)
        reasons = []
        for detail in status.details if status else []:
            info = error_details_pb2.ErrorInfo()
            if not detail.Unpack(info):
                continue
            assert info.domain == "ingest.cityfleet"
            reasons.append(info.reason)
        return exc.code(), *reasons, exc.details()
    return (await stream.code(),)


async def test_acknowledges_what_is_durable():
    async with serving() as server:
        server.acks = False
        stream = open_stream(server)
        for sequence in (1, 5, 6):
            await stream.write(request(sequence))
        await server.until(lambda: server.taken == 3)
        answer = asyncio.create_task(acked(stream))
        await asyncio.sleep(0.05)
        assert not answer.done()
        server.release()
        assert await answer == 6
        await stream.done_writing()
        assert await acked(stream) is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_one_message_at_a_time_is_acknowledged_each():
    async with serving() as server:
        stream = open_stream(server)
        for sequence in range(1, 50):
            await stream.write(request(sequence))
            assert await acked(stream) == sequence


async def test_streams_have_their_own_sequences():
    async with serving() as server:
        streams = [open_stream(server), open_stream(server, "wl-2"), open_stream(server)]
        for sequence in range(1, 200):
            for number, stream in enumerate(streams):
                await stream.write(request(sequence * (number + 1)))
        for number, stream in enumerate(streams):
            await stream.done_writing()
            await acked_up_to(stream, 199 * (number + 1))
        assert server.taken == 3 * 199


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([request(1), request(1)], "SEQUENCE_NOT_INCREASING"),
        ([request(2), request(1)], "SEQUENCE_NOT_INCREASING"),
        ([request(0)], "SEQUENCE_NOT_INCREASING"),
        ([request(1), b"\xff\xff\xff"], "MALFORMED_REQUEST"),
        ([request(1), request(2)[:-1]], "MALFORMED_REQUEST"),
        ([request(1) + request(2)], "MALFORMED_REQUEST"),
    ],
)
async def test_a_stream_that_breaks_the_rules_ends_after_its_acknowledgements(requests, reason):
    async with serving() as server:
        stream = open_stream(server)
        for one in requests:
            await stream.write(one)
        if len(requests) > 1:
            assert await acked(stream) == (2 if requests[0] == request(2) else 1)
        code, found, text = await refusal(stream)
        assert (code, found) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
        assert "the last that was taken" in text
        assert server.count(f"grpc_refused.{reason.lower()}") == 1


@pytest.mark.parametrize(
    ("device", "token", "code", "reason"),
    [
        ("wl-1", "wrong", grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS"),
        ("nobody", "token", grpc.StatusCode.UNAUTHENTICATED, "BAD_CREDENTIALS"),
        ("wl-gone", "token", grpc.StatusCode.PERMISSION_DENIED, "DECOMMISSIONED"),
    ],
)
async def test_strangers_are_refused(device, token, code, reason):
    async with serving() as server:
        assert (await refusal(open_stream(server, device, token)))[:2] == (code, reason)


async def test_before_the_devices_are_known_clients_are_told_to_come_back():
    async with serving() as server:
        server.index.awaits_snapshot = True
        found = await refusal(open_stream(server, "not-yet"))
        assert found[:2] == (grpc.StatusCode.UNAVAILABLE, "DEVICES_NOT_LOADED")


async def test_a_device_has_so_many_streams_and_no_more():
    async with serving(max_streams_per_device=2) as server:
        streams = [open_stream(server) for _ in range(2)]
        for stream in streams:
            await stream.write(request(1))
            assert await acked(stream) == 1
        code, reason, _ = await refusal(open_stream(server))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        other = open_stream(server, "wl-2")
        await other.write(request(1))
        assert await acked(other) == 1
        await streams[0].done_writing()
        assert await acked(streams[0]) is grpc.aio.EOF
        await server.until(lambda: server.count("grpc_open_streams") == 2)
        again = open_stream(server)
        await again.write(request(1))
        assert await acked(again) == 1


async def test_a_message_too_large_ends_its_stream_with_a_clear_error():
    async with serving(max_message_bytes=10_000) as server:
        stream = open_stream(server)
        await stream.write(request(1))
        assert await acked(stream) == 1
        await stream.write(request(2, size=5000))
        found = await refusal(stream)
        assert found[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "10000" in found[-1]
        await server.until(lambda: server.count("grpc_open_streams") == 0)
        other = open_stream(server)
        await other.write(request(1))
        assert await acked(other) == 1


async def test_a_cancelled_stream_is_released_and_what_it_sent_is_kept():
    async with serving() as server:
        server.acks = False
        stream = open_stream(server)
        for sequence in range(1, 11):
            await stream.write(request(sequence))
        await server.until(lambda: server.taken == 10)
        stream.cancel()
        await server.until(lambda: server.count("grpc_cancelled") == 1)
        assert server.count("grpc_open_streams") == 0
        server.release()
        assert server.gate.held_bytes == 0


async def test_a_deadline_ends_a_stream_and_is_counted():
    async with serving() as server:
        server.acks = False
        stream = open_stream(server, timeout=0.3)
        await stream.write(request(1))
        assert (await refusal(stream))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        await server.until(lambda: server.count("grpc_deadline_exceeded") == 1)
        assert server.count("grpc_open_streams") == 0
        server.release()


async def test_a_shut_gate_holds_clients_back_and_memory_is_bounded():
    async with serving(limit_bytes=500_000, window_bytes=65_536) as server:
        server.acks = False
        stream = open_stream(server)
        sent = 0

        async def flood():
            nonlocal sent
            for sequence in range(1, 3001):
                await stream.write(request(sequence, size=1000))
                sent += 1
            await stream.done_writing()

        flooding = asyncio.create_task(flood())
        await server.until(lambda: not server.gate.is_open)
        await asyncio.sleep(0.3)
        assert not flooding.done()
        assert server.gate.held_bytes < 2_000_000
        assert (sent - server.taken) * 8000 < 2_000_000
        server.acks = True
        server.release()
        await flooding
        await acked_up_to(stream, 3000)


async def hint(stream):
    """(code, seconds to wait, subjects of the quota) of a stream that the server ends."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
        raise AssertionError("the server did not end the stream")
    except grpc.aio.AioRpcError as exc:
        ended = exc
    retry, failure = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    subjects, wait_s = [], None
    for detail in rpc_status.from_call(ended).details:
        if detail.Unpack(retry):
            wait_s = retry.retry_delay.ToMilliseconds() / 1000
        elif detail.Unpack(failure):
            subjects = [violation.subject for violation in failure.violations]
    return ended.code(), wait_s, subjects


async def test_above_its_quota_a_stream_ends_with_when_to_come_back_and_all_it_took_is_acknowledged():
    async with serving(quota=(0.05, 0, 80)) as server:
        stream = open_stream(server)
        for sequence in range(1, 7):
            await stream.write(request(sequence))
        await acked_up_to(stream, 5)
        code, wait_s, subjects = await hint(stream)
        assert (code, subjects) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ["devices/wl-1"])
        assert 10 < wait_s < 22
        assert server.count("grpc_rejected.quota") == 1
        other = open_stream(server, "wl-2")
        await other.write(request(1))
        assert await acked(other) == 1


async def test_a_gate_that_stays_shut_sends_streams_away_until_it_opens():
    async with serving(refuse_after_s=0.2) as server:
        server.acks = False
        stream = open_stream(server)
        await stream.write(request(1))
        await server.until(lambda: server.taken == 1)
        server.gate.shut(True)
        await stream.write(request(2))
        code, wait_s, _ = await hint(stream)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert wait_s >= 5
        code, wait_s, _ = await hint(open_stream(server))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert wait_s >= 5
        assert (server.taken, server.gate.accounts["requests"]) == (1, 0)
        server.gate.shut(False)
        server.acks = True
        server.release()
        again = open_stream(server)
        await again.write(request(2))
        assert await acked(again) == 2


async def test_requests_in_hand_at_a_shut_gate_are_bounded():
    async with serving(limit_bytes=500_000, max_streams_per_device=64) as server:
        server.gate.shut(True)
        streams = [open_stream(server) for _ in range(30)]
        for stream in streams:
            await stream.write(request(1, size=120_000))
        await server.until(lambda: server.count("grpc_rejected.busy") >= 1)
        assert server.gate.held_bytes <= 18_000_000
        assert server.taken == 0


async def test_at_shutdown_streams_get_their_last_acknowledgement_and_a_reason():
    async with serving() as server:
        server.acks = False
        streams = [open_stream(server), open_stream(server, "wl-2")]
        for stream in streams:
            await stream.write(request(7))
        await server.until(lambda: server.taken == 2)
        await server.transport.stop_reading()
        late = open_stream(server)
        assert (await refusal(late))[:2] == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        server.release()
        for stream in streams:
            assert await acked(stream) == 7
            assert (await refusal(stream))[:2] == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")


async def test_a_revoked_device_is_cut_off():
    async with serving() as server:
        stream = open_stream(server)
        await stream.write(request(1))
        assert await acked(stream) == 1
        assert server.transport.kick("wl-2") == 0
        assert server.transport.kick("wl-1") == 1
        assert (await refusal(stream))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
