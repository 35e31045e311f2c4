"""What the consumer says to a broker and takes from it: subscriptions, acknowledgements, QoS 2, aliases, retained."""

import struct

import pytest

from tests.support import mqtt_packets as mq
from tests.support.fake_broker import PUBCOMP, PUBREC, PUBREL, FakeBroker, ack, connack, consuming

TOPIC = b"cf/v1/d/wl-1/telemetry"
PAYLOAD_TOO_LARGE, UNSUPPORTED_TOPIC = 13, 3
SPARKPLUG, TTS, CHIRPSTACK, CHIRPSTACK_PROTOBUF = 7, 8, 9, 10


def messages(ids, qos=1, topic=TOPIC, dup=False):
    return [mq.publish(topic, b"%d" % one, one if qos else 0, qos=qos, dup=dup) for one in ids]


async def test_connects_with_a_session_a_wide_window_and_no_retained_messages():
    async with (
        FakeBroker() as broker,
        consuming(broker.port, session_expiry_s=77, keep_alive_s=20),
        broker.peer() as peer,
    ):
        connect = await peer.welcome()
        assert (connect.version, connect.is_clean, connect.keep_alive_s) == (5, False, 20)
        assert connect.client_id == b"node-0"
        assert connect.properties == {17: 77, 33: 65535, 34: 4096}
        assert peer.filters == [
            (b"$share/cityfleet/cf/v1/d/+/telemetry/#", 0x21),
            (b"$share/cityfleet/cf/v1/g/+/telemetry/#", 0x21),
            (b"$share/cityfleet/cf/v1/d/+/state", 0x21),
        ]


async def test_connections_share_and_have_ids_of_their_own():
    async with FakeBroker() as broker, consuming(broker.port, connections=3, qos=2, filters=("a/#",)):
        ids = set()
        for _ in range(3):
            async with broker.peer() as peer:
                ids.add((await peer.welcome()).client_id)
                assert peer.filters == [(b"$share/cityfleet/a/#", 0x22)]
        assert ids == {b"node-0", b"node-1", b"node-2"}


async def test_sparkplug_is_never_shared():
    async with FakeBroker() as broker, consuming(broker.port, connections=2, filters=("a/#", "spBv1.0/#")):
        found = {}
        for _ in range(2):
            async with broker.peer() as peer:
                client_id = (await peer.welcome()).client_id
                found[client_id] = [one for one, _ in peer.filters]
        assert found == {b"node-0": [b"spBv1.0/#", b"$share/cityfleet/a/#"], b"node-1": [b"$share/cityfleet/a/#"]}


async def test_without_a_share_group_one_connection_has_everything():
    async with (
        FakeBroker() as broker,
        consuming(broker.port, connections=4, share_group="", filters=("a/#",)) as consumer,
        broker.peer() as peer,
    ):
        await peer.welcome()
        assert peer.filters == [(b"a/#", 0x21)]
        await consumer.until(lambda: consumer.consumer.problem == "")
        assert len(consumer.consumer.connections()) == 1


async def test_subscribes_again_on_every_connect():
    async with FakeBroker() as broker, consuming(broker.port):
        for session in (False, True, True):
            async with broker.peer() as peer:
                await peer.welcome(session=session)
                assert len(peer.filters) == 3
                assert peer.unsubscribed == []


async def test_filters_taken_out_are_unsubscribed(tmp_path):
    state = tmp_path / "filters.json"
    for filters, gone in ((("a/#", "b/#"), []), (("b/#",), [b"$share/cityfleet/a/#"]), (("b/#",), [])):
        async with (
            FakeBroker() as broker,
            consuming(broker.port, filters=filters, state_file=state) as consumer,
            broker.peer() as peer,
        ):
            await peer.welcome(session=True)
            assert peer.unsubscribed == gone
            await consumer.until(lambda one=consumer: one.consumer.problem == "")


async def test_acknowledges_in_order_only_what_is_durable():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()
        peer.send(*messages([5, 3, 9]))
        await consumer.until_taken(3)
        peer.send(*messages([4]))
        await consumer.until_taken(4)
        peer.send(b"\xd0\x00")
        assert consumer.consumer.connections()[0][1]["in_flight"] == 4
        consumer.release()
        assert await peer.expect_ids(mq.PUBACK, 4) == [5, 3, 9, 4]
        assert consumer.consumer.connections()[0][1]["in_flight"] == 0


async def test_qos_0_is_taken_without_an_answer():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.welcome()
        peer.send(*messages(range(1, 50), qos=0), *messages([7]))
        assert await peer.expect_ids(mq.PUBACK, 1) == [7]
        assert consumer.payloads == [b"%d" % one for one in [*range(1, 50), 7]]


async def test_the_sender_is_the_topics_device():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.welcome()
        topics = {
            b"cf/v1/d/wl-2/telemetry/batch": (b"wl-2", 2, 0, 0, False),
            b"cf/v1/g/gw-1/telemetry": (b"gw-1", 0, 1, 0, False),
            b"cf/v1/d/nobody/telemetry": (None, 0, 0, 0, False),
            b"cf/v1/d/wl-2/other": (b"wl-2", 0, 0, UNSUPPORTED_TOPIC, False),
            b"somewhere/else": (None, 255, 0, UNSUPPORTED_TOPIC, False),
            b"spBv1.0/g/NDATA/e": (None, SPARKPLUG, 0, 0, True),
            b"v3/app@tenant/devices/dev-1/up": (None, TTS, 0, 0, True),
            b"application/1/device/0102030405060708/event/up": (None, CHIRPSTACK_PROTOBUF, 0, 0, True),
        }
        peer.send(*(mq.publish(topic, b"x") for topic in topics))
        await consumer.until_taken(len(topics))
        for (topic, (device, *facts)), frame in zip(topics.items(), consumer.taken, strict=True):
            sender = -1 if device is None else consumer.index.find_device(device)
            assert frame == (topic, b"x", sender, *facts)


async def test_chirpstack_json_is_seen_from_its_first_byte():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.welcome()
        peer.send(mq.publish(b"application/1/device/0102030405060708/event/up", b"{}"))
        await consumer.until_taken(1)
        assert consumer.taken[0][3] == CHIRPSTACK


async def test_content_type_names_the_encoding():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.welcome()
        peer.send(mq.publish(TOPIC, b"x", props=[(3, b"application/senml+json"), (11, 7), (11, 8), (1, 1), (2, 60)]))
        await consumer.until_taken(1)
        assert consumer.taken[0][3] == 1


async def test_topic_aliases_stand_for_their_topics():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.welcome()
        other = b"cf/v1/d/wl-2/telemetry"
        peer.send(
            mq.publish(TOPIC, b"1", props=[(35, 1)]), mq.publish(other, b"2", props=[(35, 4096)]),
            mq.publish(b"", b"3", props=[(35, 1)]), mq.publish(b"", b"4", props=[(35, 4096)]),
            mq.publish(other, b"5", props=[(35, 1)]), mq.publish(b"", b"6", props=[(35, 1)]),
        )  # fmt: skip
        await consumer.until_taken(6)
        assert [frame[0] for frame in consumer.taken] == [TOPIC, other, TOPIC, other, other, other]


@pytest.mark.parametrize("props", [[(35, 4097)], [(35, 9)]])
async def test_an_alias_that_is_none_ends_the_connection(props):
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(TOPIC if props[0][1] > 4096 else b"", b"x", props=props))
            assert (await peer.until_closed())[0][0] == mq.DISCONNECT
        await consumer.until_reconnect("protocol_error")
        async with broker.peer() as peer:
            await peer.welcome()


async def test_aliases_end_with_their_connection():
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(TOPIC, b"1", props=[(35, 1)]))
            await consumer.until_taken(1)
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(mq.publish(b"", b"2", props=[(35, 1)]))
            await consumer.until_reconnect("protocol_error")
        assert consumer.payloads == [b"1"]


async def test_qos_2_is_taken_once():
    async with FakeBroker() as broker, consuming(broker.port, qos=2) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()
        peer.send(*messages([1, 2], qos=2))
        await consumer.until_taken(2)
        consumer.release()
        assert await peer.expect_ids(PUBREC, 2) == [1, 2]
        peer.send(*messages([1], qos=2, dup=True))
        assert await peer.expect_ids(PUBREC, 1) == [1]
        peer.send(ack(PUBREL, 1), ack(PUBREL, 2), ack(PUBREL, 3))
        bodies = [await peer.expect(PUBCOMP) for _ in range(3)]
        assert bodies == [b"\0\1", b"\0\2", b"\0\3\x92"]
        assert consumer.payloads == [b"1", b"2"]
        peer.send(*messages([1], qos=2))
        await consumer.until_taken(3)


async def test_qos_2_is_taken_once_over_connections_of_one_session():
    async with FakeBroker() as broker, consuming(broker.port, qos=2) as consumer:
        consumer.acks = False
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(*messages([1, 2], qos=2))
            await consumer.until_taken(2)
        async with broker.peer() as peer:
            await peer.welcome(session=True)
            peer.send(*messages([1], qos=2, dup=True))  # asked again before it is durable
            await consumer.until(lambda: consumer.consumer.connections()[0][0]["repeats"] == 1)
            consumer.release()
            assert await peer.expect_ids(PUBREC, 1) == [1]
            peer.send(*messages([2], qos=2, dup=True))  # and after it
            assert await peer.expect_ids(PUBREC, 1) == [2]
        async with broker.peer() as peer:
            await peer.welcome(session=False)
            peer.send(*messages([1], qos=2))  # another session: another message
            await consumer.until_taken(3)


async def test_pubrel_before_our_pubrec_ends_the_connection():
    async with FakeBroker() as broker, consuming(broker.port, qos=2) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()
        peer.send(*messages([1], qos=2), ack(PUBREL, 1))
        await consumer.until_reconnect("protocol_error")


async def test_nothing_is_acknowledged_on_another_connection_than_its_own():
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        consumer.acks = False
        async with broker.peer() as peer:
            await peer.welcome()
            peer.send(*messages([1, 2]))
            await consumer.until_taken(2)
        async with broker.peer() as peer:
            await peer.welcome(session=True)
            consumer.release()
            peer.send(*messages([1], dup=True))
            await consumer.until_taken(3)
            consumer.release()
            assert await peer.expect_ids(mq.PUBACK, 1) == [1]
        assert consumer.consumer.counters()["broker_acks_gone"] == 2
        assert consumer.consumer.connections()[0][0]["duplicates"] == 1


async def test_retained_messages_are_no_readings_but_are_acknowledged_in_order():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        consumer.acks = False
        await peer.welcome()
        peer.send(mq.publish(TOPIC, b"old", 1, retain=True))
        assert await peer.expect_ids(mq.PUBACK, 1) == [1]
        peer.send(*messages([2]))
        await consumer.until_taken(1)
        peer.send(mq.publish(TOPIC, b"old", 3, retain=True), *messages([4]))
        await consumer.until_taken(2)
        consumer.release()
        assert await peer.expect_ids(mq.PUBACK, 3) == [2, 3, 4]
        assert consumer.payloads == [b"2", b"4"]
        assert consumer.consumer.counters()["broker_retained"] == 2


async def test_a_large_message_is_cut_for_quarantine_and_acknowledged():
    async with FakeBroker() as broker, consuming(broker.port, max_packet_bytes=4096) as consumer, broker.peer() as peer:
        await peer.welcome()
        huge_properties = [(38, (b"k" * 60_000, b"v"))] * 3
        peer.send(
            mq.publish(TOPIC, b"x" * 300_000, 1), *messages([2]), mq.publish(TOPIC, b"y", 3, props=huge_properties)
        )
        assert await peer.expect_ids(mq.PUBACK, 3) == [1, 2, 3]
        assert [frame[5] for frame in consumer.taken] == [PAYLOAD_TOO_LARGE, 0, PAYLOAD_TOO_LARGE]
        assert 3000 < len(consumer.payloads[0]) < 4096
        assert consumer.consumer.counters()["broker_oversized"] == 2


async def test_messages_of_the_session_may_come_before_the_suback():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        await peer.connect()
        peer.send(connack(True), *messages([8]))
        await peer.expect(mq.SUBSCRIBE)
        assert await peer.expect_ids(mq.PUBACK, 1) == [8]
        assert consumer.payloads == [b"8"]


async def test_our_messages_are_sent_again_until_acknowledged():
    async with FakeBroker() as broker, consuming(broker.port) as consumer:
        async with broker.peer() as peer:
            await peer.welcome()
            await consumer.until(lambda: consumer.consumer.problem == "")
            consumer.consumer.publish(b"spBv1.0/g/NCMD/e", b"rebirth", 0)
            consumer.consumer.publish(b"a", b"1", 1)
            consumer.consumer.publish(b"b", b"2", 1, retain=True)
            found = [await peer.next() for _ in range(3)]
            assert found[0] == (mq.PUBLISH, mq.prefixed(b"spBv1.0/g/NCMD/e") + b"\0rebirth")
            ids = [struct.unpack(">H", body[3:5])[0] for _, body in found[1:]]
            peer.send(ack(mq.PUBACK, ids[0]))
            await consumer.until(lambda: consumer.consumer.connections()[0][1]["unacknowledged_publishes"] == 1)
        async with broker.peer() as peer:
            await peer.connect()
            peer.send(connack(True))
            assert await peer.expect(mq.PUBLISH) == mq.prefixed(b"b") + struct.pack(">H", ids[1]) + b"\x002"


async def test_publish_without_a_connection_says_so():
    async with FakeBroker() as broker, consuming(broker.port) as consumer, broker.peer() as peer:
        with pytest.raises(Exception, match="not connected"):
            consumer.consumer.publish(b"a", b"1", 1)
        await peer.welcome(props=[(33, 2), (39, 100)])
        await consumer.until(lambda: consumer.consumer.problem == "")
        with pytest.raises(ValueError, match="larger"):
            consumer.consumer.publish(b"a", b"x" * 100, 1)
        for _ in range(2):
            consumer.consumer.publish(b"a", b"1", 1)
        with pytest.raises(Exception, match="too many unacknowledged"):
            consumer.consumer.publish(b"a", b"1", 1)


async def test_the_will_and_what_follows_the_connect_are_sparkplugs_to_say():
    told = []

    def prepare(consumer):
        consumer.will = lambda: (b"spBv1.0/STATE/host", b"offline", 1, True)
        consumer.on_connected = lambda: told.append(1)

    async with FakeBroker() as broker, consuming(broker.port, before=prepare) as consumer, broker.peer() as peer:
        connect = await peer.welcome()
        assert connect.rest == b"\0" + mq.prefixed(b"spBv1.0/STATE/host") + mq.prefixed(b"offline")
        await consumer.until(lambda: told == [1])
