"""MQTT over WebSocket, byte by byte: frames of every shape, frames that break RFC 6455, and who is not disturbed."""

import asyncio
import struct

import pytest

from ext.mqtt.upgrade import REQUEST_MAX_BYTES
from ingest.settings import WebSocketSettings
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import MqttServer, serve
from tests.support.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
    request,
)

CONNECT = mq.connect(5, b"ws-1", b"wl-1", b"token-wl-1")
TOPIC = b"cf/v1/d/wl-1/telemetry"


def ws(**settings):
    return serve(websocket=WebSocketSettings(enabled=True, port=0), **settings)


async def opened(server: MqttServer, client: RawWebSocket) -> None:
    """Upgraded, and connected as wl-1."""
    await client.upgrade()
    client.send(frame(CONNECT))
    answer = await client.frame()
    assert (answer.opcode, answer.payload[0] >> 4) == (BINARY, mq.CONNACK)
    assert answer.payload[3] == 0


async def test_a_message_is_taken_and_acknowledged_in_one_binary_frame():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(mq.publish(TOPIC, b"x", 7)))
        assert await client.frame() == (BINARY, b"\x40\x02\x00\x07")
        assert [taken.payload for taken in server.taken] == [b"x"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000])
async def test_reads_may_cut_anywhere(step):
    payloads = [b"", b"a" * 119, b"b" * 120, b"c" * 65_520, b"d" * 70_000 if step > 1 else b"d"]
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        stream = b"".join(frame(mq.publish(TOPIC, payload, number)) for number, payload in enumerate(payloads, start=1))
        for at in range(0, len(stream), step):
            client.send(stream[at : at + step])
            if (step < 64 and at % 4096 < step) or at % 100_000 < step:
                await client.writer.drain()
        acked = b""
        while len(acked) < 4 * len(payloads):
            acked += (await client.frame()).payload
        assert [taken.payload for taken in server.taken] == payloads


@pytest.mark.parametrize("step", [1, 5, 33])
async def test_packets_may_span_frames_and_frames_hold_several(step):
    packets = b"".join(mq.publish(TOPIC, b"%d" % number, number) for number in range(1, 41))
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(*(frame(packets[at : at + step]) for at in range(0, len(packets), step)), frame(packets))
        acked = b""
        while len(acked) < 4 * 80:
            acked += (await client.frame()).payload
        assert [taken.payload for taken in server.taken] == [b"%d" % number for number in range(1, 41)] * 2


async def test_fragments_with_pings_between_them_are_one_stream():
    packet = mq.publish(TOPIC, b"in pieces", 1)
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(
            frame(packet[:5], BINARY, is_last=False),
            frame(b"are you there?", PING),
            frame(b"", CONTINUATION, is_last=False),
            frame(packet[5:9], CONTINUATION, is_last=False),
            frame(b"unasked", PONG),
            frame(packet[9:], CONTINUATION),
            frame(mq.publish(TOPIC, b"whole", 2)),
        )
        assert await client.frame() == (PONG, b"are you there?")
        acked = b""
        while len(acked) < 8:
            acked += (await client.frame()).payload
        assert [taken.payload for taken in server.taken] == [b"in pieces", b"whole"]


async def test_a_ping_of_125_bytes_split_over_reads_comes_back_whole():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        ping = frame(bytes(range(125)), PING)
        for byte in ping:
            client.send(bytes([byte]))
            await client.writer.drain()
        assert await client.frame() == (PONG, bytes(range(125)))


async def test_the_first_packet_may_come_with_the_request():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        client.send(request(), frame(CONNECT))
        assert (await client.answer())[0] == 101
        assert (await client.frame()).payload[0] >> 4 == mq.CONNACK


async def test_a_downlink_comes_as_one_binary_frame():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(mq.subscribe(1, [(b"cf/v1/d/wl-1/commands", 0)])))
        await client.frame()
        payload = b"c" * 70_000
        assert server.endpoint.deliver(b"wl-1", b"cf/v1/d/wl-1/commands", payload, 0) == 1
        got = await client.frame()
        assert got.opcode == BINARY
        assert got.payload.endswith(payload)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(b"x", is_masked=False), 1002),
        (frame(b"x", reserved=4), 1002),
        (frame(b"x", reserved=1), 1002),
        (frame(b"x", TEXT), 1003),
        (frame(b"x", 3), 1002),
        (frame(b"x", 11), 1002),
        (frame(b"x", CONTINUATION), 1002),
        (frame(b"x", BINARY, is_last=False) + frame(b"y", BINARY), 1002),
        (frame(b"x", PING, is_last=False), 1002),
        (frame(b"x" * 126, PING), 1002),
        (frame(b"x", length=1), 1002),
        (frame(b"x", length=65_535), 1002),
        (frame(b"", length=16_777_217), 1009),
        (frame(b"", length=(1 << 64) - 1), 1009),
        (frame(b"", length=1 << 63), 1009),
        (b"\x82\xfe\x00\x05" + b"mask" + b"hello", 1002),
        (frame(b"\x03", CLOSE), 1002),
        (frame(struct.pack(">H", 999), CLOSE), 1002),
        (frame(struct.pack(">H", 1005), CLOSE), 1002),
        (frame(struct.pack(">H", 1006), CLOSE), 1002),
        (frame(struct.pack(">H", 2000), CLOSE), 1002),
        (frame(struct.pack(">H", 5000), CLOSE), 1002),
        (frame(struct.pack(">H", 1000) + b"\xff", CLOSE), 1007),
    ],
)
@pytest.mark.parametrize("is_connected", [False, True])
async def test_a_frame_that_breaks_the_rules_ends_the_connection_with_its_code(bad, code, is_connected):
    async with ws() as server, RawClient(server.port) as witness, RawWebSocket(server.port_of("ws")) as client:
        await witness.connect(b"wl-2", b"witness")
        if is_connected:
            await opened(server, client)
        else:
            await client.upgrade()
        client.send(bad)
        assert await client.close_code() == code
        if not is_connected:
            assert server.count("connects.websocket_error") == 1
        await witness.ping()


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_a_close_is_answered_with_its_code(code):
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(struct.pack(">H", code) + "bye ✓".encode(), CLOSE))
        assert await client.close_code() == code
        client.writer.close()
        async with asyncio.timeout(60):
            while server.count("sockets"):
                await asyncio.sleep(0.005)


async def test_what_comes_behind_a_close_is_not_read():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(b"", CLOSE), frame(mq.publish(TOPIC, b"late", 1)))
        assert await client.close_code() == 1000
        assert not server.taken


async def test_a_disconnect_is_answered_with_a_close():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(b"\xe0\x00"))
        assert await client.close_code() == 1000


async def test_an_mqtt_error_says_disconnect_and_then_close():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(b"\x00\x00"))
        got = await client.frame()
        assert (got.opcode, got.payload[0]) == (BINARY, mq.DISCONNECT << 4)
        assert await client.close_code() == 1000


async def test_a_packet_larger_than_allowed_is_refused_before_it_comes():
    async with ws(max_packet_bytes=1000) as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        client.send(frame(mq.publish(TOPIC, b"x" * 99_000, 1)[:100]))
        assert (await client.frame()).payload[2] == 0x95
        assert await client.close_code() == 1000
        assert server.count("rejected.packet_too_large") == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (request(path=b"/"), 404),
        (request(upgrade=b""), 426),
        (request(sec_websocket_protocol=b"chat"), 400),
        (b"GET /" + b"x" * REQUEST_MAX_BYTES, 431),
        (b"PUT / HTTP/1.1\r\n\r\n", 404),
        (CONNECT + b"\r\n\r\n", 400),
    ],
)
async def test_a_request_that_is_no_upgrade_gets_an_http_answer(text, status):
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        client.send(text)
        assert (await client.answer())[0] == status
        assert await client.reader.read() != b""
        assert server.count("connects.websocket_refused") == 1


async def test_a_request_that_comes_byte_by_byte_is_served():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        for byte in request():
            client.send(bytes([byte]))
            await client.writer.drain()
        assert (await client.answer())[0] == 101


@pytest.mark.parametrize("sent", [b"", b"GET /mqtt HTTP/1.1\r\n", request(), request() + frame(CONNECT)[:9]])
async def test_a_client_that_never_connects_is_closed(sent):
    async with ws(connect_timeout_s=0.3) as server, RawWebSocket(server.port_of("ws")) as client:
        client.send(sent)
        await server.until("connects.timeout", 1)
        assert server.count("connections") == 0


async def test_at_shutdown_clients_are_told_disconnect_and_close():
    async with ws() as server, RawWebSocket(server.port_of("ws")) as client:
        await opened(server, client)
        await server.endpoint.close()
        got = await client.frame()
        assert got.payload[:1] == bytes([mq.DISCONNECT << 4])
        assert await client.close_code() == 1000
