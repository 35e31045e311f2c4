"""What the consumer does when a broker refuses, goes silent, breaks the protocol or comes later, and when we stall."""

import asyncio

import pytest
import structlog

from loadtest.platform import free_ports
from tests.support import mqtt_packets as mq
from tests.support.fake_broker import FakeBroker, connack, consuming

TOPIC = b"cf/v1/d/wl-1/telemetry"


@pytest.mark.parametrize("refusal", [connack(reason=0x84), b"\x20\x02\x00\x01"], ids=["mqtt_5", "mqtt_3"])
async def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(refusal):
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            assert (await peer.connect()).version == 5
            peer.send(refusal)
        async with broker.peer() as peer:
            connect = await peer.welcome()
            assert (connect.version, connect.is_clean) == (4, False)
            assert {options for _, options in peer.filters} == {1}
            peer.send(mq.publish(TOPIC, b"x", 1, version=4))
            assert await peer.expect_ids(mq.PUBACK, 1) == [1]
        await consumer.until_reconnect("lost")
        assert consumer.consumer.reconnects() == {"lost": 1}


async def test_a_wrong_password_is_told_without_the_password(tmp_path):
    (tmp_path / "password").write_text("hunter2\n")
    with structlog.testing.capture_logs() as logs:
        async with (
            FakeBroker() as broker,
            consuming(broker.port, username="me", password_file=str(tmp_path / "password")) as consumer,
        ):
            for _ in range(2):
                async with broker.peer() as peer:
                    assert (await peer.connect()).rest == mq.prefixed(b"me") + mq.prefixed(b"hunter2")
                    peer.send(connack(reason=0x86, props=[(31, b"no such user")]))
                    assert await peer.until_closed() == []
            await consumer.until_reconnect("bad_credentials", 2)
            assert "bad_credentials no such user" in consumer.consumer.problem
    assert any(entry.get("reason_code") == "0x86" and entry["log_level"] == "error" for entry in logs)
    assert "hunter2" not in str(logs)


@pytest.mark.parametrize(
    ("code", "cause", "word"),
    [
        (0x8E, "taken_over", "client_id must differ"),
        (0x9D, "server_moved", "elsewhere:1883"),
        (0x9C, "use_another_server", "elsewhere:1883"),
        (0x8B, "server_shutting_down", "elsewhere:1883"),
        (0x87, "not_authorized", "elsewhere:1883"),
    ],
)
async def test_why_the_broker_ended_the_connection_is_told(code, cause, word):
    with structlog.testing.capture_logs() as logs:
        async with FakeBroker() as broker, consuming(broker.port) as consumer:
            async with broker.peer() as peer:
                await peer.welcome()
                peer.send(mq.packet(mq.DISCONNECT, bytes((code,)) + mq.properties([(28, b"elsewhere:1883")])))
                await consumer.until_reconnect(cause)
            async with broker.peer() as peer:
                await peer.welcome()
                await consumer.until(lambda: consumer.consumer.problem == "")
    (told,) = [entry for entry in logs if entry.get("cause") == cause]
    assert word in str(told)


async def test_a_refused_subscription_is_no_connection():
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            await peer.connect()
            peer.send(connack())
            await peer.subscribed(reason=0x87)
            await peer.until_closed()
        await consumer.until_reconnect("not_authorized")
        async with broker.peer() as peer:
            await peer.connect()
            peer.send(connack(props=[(42, 0)]))
            await peer.until_closed()
        await consumer.until_reconnect("shared_subscriptions_not_supported")
        assert consumer.consumer.problem


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\xff",
        mq.packet(mq.PUBLISH, b"\0\xffabc"),
        mq.packet(mq.PUBLISH, b"", 6),
        mq.packet(mq.PINGRESP, b"x"),
        mq.packet(mq.CONNACK, b"\0\0\0"),
        mq.packet(mq.SUBACK, b"\0\7\0\1"),
        mq.packet(mq.AUTH, b""),
        mq.packet(mq.PINGREQ, b""),
        mq.packet(5, b"\0\1"),
        mq.packet(0, b""),
    ],
)
async def test_malformed_packets_end_their_connection_only(data):
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(TOPIC, b"before", 1), data)
            left = await peer.until_closed()
            assert (mq.DISCONNECT, left[-1][1][:1] in (b"\x81", b"\x82")) == (left[-1][0], True)
        async with broker.peer() as peer:
            await peer.welcome(session=True)
            peer.send(mq.publish(TOPIC, b"after", 2))
            assert await peer.expect_ids(mq.PUBACK, 1) == [2]
        assert consumer.payloads == [b"before", b"after"]


async def test_a_broker_that_answers_nothing_is_left():
    async with FakeBroker() as broker, consuming(broker.port, connect_timeout_s=0.2) as consumer:
        async with broker.peer() as peer:
            await peer.connect()
            await consumer.until_reconnect("timeout")
        async with broker.peer() as peer:
            await peer.welcome()


async def test_a_broker_that_answers_no_ping_is_left():
    async with FakeBroker() as broker, consuming(broker.port, keep_alive_s=1) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            await peer.expect(mq.PINGREQ)
            await consumer.until_reconnect("no_pingresp")
        async with broker.peer() as peer:
            await peer.welcome()


async def test_the_broker_may_ask_for_a_shorter_keep_alive():
    async with FakeBroker() as broker, consuming(broker.port, keep_alive_s=600), broker.peer() as peer:
        await peer.welcome(props=[(19, 1)])
        await peer.expect(mq.PINGREQ)


async def test_a_stream_that_stalls_is_made_anew_once():
    async with FakeBroker() as broker, consuming(broker.port, stall_timeout_s=0.3) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(TOPIC, b"x"))
            assert await peer.until_closed() == []
        await consumer.until_reconnect("stalled")
        async with broker.peer() as peer:
            await peer.welcome()
            await asyncio.sleep(1.0)  # silence from the beginning is no stall
            assert consumer.consumer.reconnects() == {"stalled": 1}
            assert consumer.consumer.problem == ""


async def test_a_connection_whose_messages_do_not_become_durable_waits_until_they_are():
    async with FakeBroker() as broker, consuming(broker.port, ack_timeout_s=0.3) as consumer:
        consumer.acks = False
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(TOPIC, b"x", 1))
            assert await peer.until_closed() == []
        await consumer.until_reconnect("acks_stalled")
        await asyncio.sleep(0.3)
        assert consumer.consumer.reconnects() == {"acks_stalled": 1}
        consumer.release()
        async with broker.peer() as peer:
            await peer.welcome(session=True)


async def test_a_broker_that_comes_later_is_found():
    (port,) = free_ports(1)
    async with consuming(port) as consumer:
        await consumer.until_reconnect("unreachable", 2)
        assert "unreachable" in consumer.consumer.problem
        server = FakeBroker()
        server._server = await asyncio.start_server(server._accept, "127.0.0.1", port)
        async with server.peer() as peer:
            await peer.welcome()
            await consumer.until(lambda: consumer.consumer.problem == "")
        await server.__aexit__()


async def test_a_shut_gate_stops_reading_also_at_qos_0():
    message = mq.publish(TOPIC, b"x" * 1000)
    async with FakeBroker() as broker, consuming(broker.port, limit_bytes=500_000) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()

        async def flood():
            for _ in range(20):
                peer.send(message * 1000)
                await peer.writer.drain()

        flooding = asyncio.create_task(flood())
        await consumer.until(lambda: not consumer.gate.is_open)
        await asyncio.sleep(0.3)
        assert consumer.gate.held_bytes < 3_000_000
        assert not flooding.done()
        consumer.acks = True
        consumer.release()
        await flooding
        await consumer.until_taken(20_000)


async def test_pings_go_out_while_the_gate_is_shut():
    async with FakeBroker() as broker, consuming(broker.port, keep_alive_s=1) as consumer, broker.peer() as peer:
        await peer.welcome()
        await consumer.until(lambda: consumer.consumer.problem == "")
        consumer.gate.shut(True)
        for _ in range(3):
            await peer.expect(mq.PINGREQ)
        assert consumer.consumer.reconnects() == {}
        consumer.gate.shut(False)
        peer.send(b"\xd0\x00", mq.publish(TOPIC, b"x", 1))
        assert await peer.expect_ids(mq.PUBACK, 1) == [1]


async def test_leaves_in_order():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()
        peer.send(mq.publish(TOPIC, b"x", 1))
        await consumer.until_taken(1)
        consumer.consumer.stop_reading()
        peer.send(mq.publish(TOPIC, b"y", 2))
        consumer.release()
        assert await peer.expect_ids(mq.PUBACK, 1) == [1]
        await consumer.consumer.close()
        assert await peer.until_closed() == [(mq.DISCONNECT, b"")]
        assert consumer.payloads == [b"x"]
        assert consumer.consumer.reconnects() == {}
