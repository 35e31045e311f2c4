"""What a payload of quarantine would become: read as its transport would read it, good only if all of it is."""

import json

import pytest

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.frames import REASON_NAMES
from ext.telemetry.index import DeviceIndex
from ingest.replay.judge import NO_READINGS, Judge, Message, places
from tests.support.pipeline import Message as Sent
from tests.support.pipeline import Pipeline
from tests.support.resolve_twin import AHEAD_MS, EARLIEST_MS, NOW_MS, make_index

GOOD = json.dumps([{"n": "water_level_m", "v": 1.5}, {"n": "rain_mm", "v": 2}]).encode()


def message(payload: bytes = GOOD, **fields: object) -> Message:
    whole = {
        "topic": b"cf/v1/d/wl-1/telemetry",
        "payload": payload,
        "device_id": "wl-1",
        "transport": "mqtt",
        "encoding": "senml-json",
        "reason": "unknown_metric",
        "received_ms": NOW_MS,
    }
    return Message(**(whole | fields))


@pytest.fixture(name="index")
def _index() -> DeviceIndex:
    return make_index()


def judged(index: DeviceIndex, one: Message) -> tuple[int, str]:
    verdict = Judge(index, EARLIEST_MS, AHEAD_MS).judge(one)
    return verdict.readings, verdict.reason


def test_a_payload_is_good_only_if_all_of_it_is(index: DeviceIndex) -> None:
    mixed = json.dumps([{"n": "water_level_m", "v": 1.5}, {"n": "nobody_knows", "v": 2}]).encode()
    verdict = Judge(index, EARLIEST_MS, AHEAD_MS).judge(message(mixed))
    assert (verdict.readings, verdict.reason) == (0, "unknown_metric")
    assert verdict.detail == "metric nobody_knows, reading 2"
    assert judged(index, message()) == (2, "")


@pytest.mark.parametrize(
    "bad",
    [
        Sent(b"", "wl-1"),
        Sent(b"\xff", "wl-1"),
        Sent(b'[{"n":"water_level_m","v":1}', "wl-1"),
        Sent(b'[{"n":"no","v":1},{"n":"water_level_m","u":"furlong","v":1}]', "wl-1"),
        Sent(b'[{"n":"wl-2:water_level_m","v":1}]', "wl-1"),
        Sent(b'[{"n":"water_level_m","t":300000000,"v":1}]', "wl-1"),
        Sent(b"\xff\xff", "wl-1", encoding="batch"),
        Sent(b"\xff\xff", "wl-1", encoding="senml-cbor"),
    ],
    ids=lambda sent: sent.payload.hex()[:40],
)
def test_what_was_refused_is_refused_for_the_same_reason_while_nothing_was_corrected(
    index: DeviceIndex, bad: Sent
) -> None:
    _, (row,) = Pipeline(index).run([bad])
    verdict = Judge(index, EARLIEST_MS, AHEAD_MS).judge(message(bad.payload, encoding=bad.encoding))
    assert (verdict.reason, verdict.detail) == (row["reason"], row["detail"].decode())
    assert verdict.encoding == bad.encoding


def test_times_count_from_when_it_came_in(index: DeviceIndex) -> None:
    ago = json.dumps([{"n": "water_level_m", "v": 1.5, "t": -10}]).encode()
    assert judged(index, message(ago)) == (1, "")
    assert judged(index, message(ago, received_ms=EARLIEST_MS + 5_000)) == (0, "time_out_of_range")
    ahead = json.dumps([{"n": "water_level_m", "v": 1.5, "t": NOW_MS / 1000}]).encode()
    assert judged(index, message(ahead, received_ms=NOW_MS - AHEAD_MS - 1_000)) == (0, "time_out_of_range")


def test_the_types_default_is_tried_where_the_topic_names_no_encoding(index: DeviceIndex) -> None:
    assert judged(index, message(encoding="senml-cbor", reason="malformed_payload")) == (2, "")
    assert judged(index, message(encoding="")) == (2, "")
    named = message(encoding="senml-cbor", topic=b"cf/v1/d/wl-1/telemetry/senml-cbor")
    assert judged(index, named) == (0, "malformed_payload")
    assert judged(index, message(encoding="unknown")) == (0, "unknown_encoding")


def test_what_was_cut_stays(index: DeviceIndex) -> None:
    assert judged(index, message(reason="payload_too_large")) == (0, "payload_too_large")


def test_a_topic_that_nothing_takes_stays(index: DeviceIndex) -> None:
    for topic in (b"cf/v1/d/wl-1/state", b"a/b", b"", b"\xff"):
        for transport in ("mqtt", "broker"):
            assert judged(index, message(topic=topic, transport=transport)) == (0, "unsupported_topic")


def test_a_device_that_is_registered_now_is_known_now(index: DeviceIndex) -> None:
    new = message(topic=b"cf/v1/d/wl-new/telemetry", device_id="wl-new", transport="broker", reason="unknown_device")
    assert judged(index, new) == (0, "unknown_device")
    index.put_device(99, "wl-new", 1, "00070", 0, [], True)
    assert judged(index, new) == (2, "")


def test_a_grpc_request_is_read_as_its_stream_does(index: DeviceIndex) -> None:
    payload = telemetry_pb2.ReadingBatch(
        base_time_ms=NOW_MS, metrics=["water_level_m"], metric_index=[0], time_delta_ms=[0], value=[1.0]
    ).SerializeToString()
    one = message(payload, topic=b"", transport="grpc", encoding="batch")
    assert judged(index, one) == (1, "")
    assert judged(index, message(payload, topic=b"", transport="mqtt", encoding="batch")) == (0, "unsupported_topic")


def test_only_a_broker_vouches_for_the_devices_that_a_foreign_message_names(index: DeviceIndex) -> None:
    topic = b"v3/app/devices/x/up"
    (ours,) = places(message(topic=topic, transport="broker", encoding="tts"), index)
    assert (ours.sender, ours.is_trusted) == (-1, True)
    (theirs,) = places(message(topic=topic, transport="mqtt", encoding="tts"), index)
    assert (theirs.sender, theirs.is_trusted) == (index.find_device("wl-1"), False)


def test_nothing_to_store_is_said_so(index: DeviceIndex) -> None:
    death = message(b"\x08\x01", topic=b"spBv1.0/g/NDEATH/e", transport="broker", encoding="sparkplug")
    assert judged(index, death) == (0, NO_READINGS)


def test_judging_leaves_nothing_behind(index: DeviceIndex) -> None:
    judge = Judge(index, EARLIEST_MS, AHEAD_MS)
    first = [judge.judge(message(payload)) for payload in (GOOD, b"\xff", GOOD, b"")]
    assert [judge.judge(message(payload)) for payload in (GOOD, b"\xff", GOOD, b"")] == first
    assert first[0] == first[2]
    assert first[1].reason in REASON_NAMES
