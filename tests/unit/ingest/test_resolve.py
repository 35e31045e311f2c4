"""Decode and resolve: what every kind of bad payload or reading becomes, while the good ones beside it go on."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.frames import REASON_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ingest.resolve import Resolver, TimeWindow
from tests.support.native_twin import read_blocks
from tests.support.pipeline import Message, Pipeline
from tests.support.resolve_twin import AHEAD_MS, EARLIEST_MS, NOW_MS, make_index

GOOD = {"n": "rain_mm", "v": 1}


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(make_index())


def pack(*records: dict[str, Any]) -> bytes:
    return json.dumps(records).encode()


def batch(**columns: Any) -> bytes:
    return telemetry_pb2.ReadingBatch(base_time_ms=NOW_MS, **columns).SerializeToString()


def only_refusal(pipeline: Pipeline, message: Message) -> tuple[str, str, int]:
    """Reason, detail and readings of the one quarantine row; nothing else may come of the message."""
    rows, quarantine = pipeline.run([message])
    assert rows == []
    (row,) = quarantine
    assert row["payload"] == message.payload
    assert row["received_at"] == message.received_ms
    assert row["topic"] == f"cf/v1/{message.scope[0]}/telemetry".encode()
    return row["reason"], row["detail"].decode(), row["readings"]


NAN = batch(metrics=["rain_mm"], value=[float("nan")])
BAD_UNIT = batch(metrics=["rain_mm"], value=[1], units=["bad"])
REFUSED = [
    (Message(pack(GOOD), None), "unknown_device", "sender, reading 1"),
    (Message(pack(GOOD), "wl-old"), "unknown_device", "sender, reading 1"),
    (Message(pack({"n": "nobody:rain_mm", "v": 1})), "unknown_device", "device nobody, reading 1"),
    (Message(pack({"n": "wl-old:rain_mm", "v": 1}), "gw-1", "gateway"), "unknown_device", "device wl-old, reading 1"),
    (Message(pack({"n": "wl-2:rain_mm", "v": 1})), "not_behind_gateway", "device wl-2, reading 1"),
    (Message(pack({"n": "wl-1:rain_mm", "v": 1}), "gw-1"), "not_behind_gateway", "device wl-1, reading 1"),
    (Message(pack({"n": "wl-2:rain_mm", "v": 1}), "gw-1", "gateway"), "not_behind_gateway", "device wl-2, reading 1"),
    (Message(pack({"n": "wl-1:rain_mm", "v": 1}), "gw-2", "gateway"), "not_behind_gateway", "device wl-1, reading 1"),
    (Message(pack({"n": "wl-2:rain_mm", "v": 1}), "wl-1", "gateway"), "not_behind_gateway", "device wl-2, reading 1"),
    (Message(pack(GOOD), encoding="xml"), "unknown_encoding", ""),
    (Message(pack(GOOD), None, encoding=""), "unknown_device", ""),
    (Message(b""), "empty_payload", ""),
    (Message(b"", encoding="batch"), "empty_payload", ""),
    (Message(b"hello"), "malformed_payload", "not an array"),
    (Message(pack({"n": "rain_mm"})), "malformed_payload", "record without a value, byte 17"),
    (Message(b"hello", encoding="batch"), "malformed_payload", "not a protobuf message, byte 3"),
    (Message(batch(metrics=["rain_mm"]), encoding="batch"), "malformed_payload", "no values"),
    (Message(batch(value=[1]), encoding="batch"), "malformed_payload", "no metrics"),
    (Message(pack({"n": "pm25", "v": 1})), "unknown_metric", "metric pm25, reading 1"),
    (Message(pack({"n": "vehicle_count", "v": 1})), "unknown_metric", "metric vehicle_count, reading 1"),
    (Message(pack({"n": "rain_mm", "u": "Cel", "v": 1})), "unknown_unit", "unit Cel of metric rain_mm, reading 1"),
    (Message(pack({"n": "rain_mm", "t": 1.0e9 - 2**28, "v": 1})), "time_out_of_range", "metric rain_mm, reading 1"),
    (Message(pack({"n": "rain_mm", "t": 4294944000, "v": 1})), "time_out_of_range", "metric rain_mm, reading 1"),
    (Message(pack({"n": "rain_mm", "t": -1.6e9, "v": 1})), "time_out_of_range", "metric rain_mm, reading 1"),
    (Message(pack({"n": "rain_mm", "s": 1})), "sum_without_value", "metric rain_mm, reading 1"),
    (Message(pack({"n": "state", "vs": "1"})), "unknown_metric", "metric state, text 1"),
    (Message(pack({"n": "vehicle_count", "vs": "1"})), "unknown_metric", "metric vehicle_count, text 1"),
    (Message(pack({"n": "rain_mm", "vb": True, "t": 4294944000})), "time_out_of_range", "metric rain_mm, text 1"),
    (Message(pack({"n": "wl-2:rain_mm", "vs": "1"})), "not_behind_gateway", "device wl-2, text 1"),
    (Message(pack({"n": "rain_mm", "vs": "1"}), None), "unknown_device", "sender, text 1"),
    (Message(b'[{"n":"rain_mm","v":1e309}]'), "value_not_finite", "metric rain_mm, reading 1"),
    (Message(NAN, encoding="batch"), "value_not_finite", "metric rain_mm, reading 1"),
    (Message(BAD_UNIT, encoding="batch"), "unknown_unit", "unit bad of metric rain_mm, reading 1"),
]


@pytest.mark.parametrize(("message", "reason", "detail"), REFUSED)
def test_every_kind_of_bad_input_has_its_reason(pipeline: Pipeline, message: Message, reason: str, detail: str) -> None:
    assert only_refusal(pipeline, message) == (reason, detail, 1)
    assert pipeline.resolver.counters.refused == {reason: 1}
    assert pipeline.resolver.counters.items_in == 1


@pytest.mark.parametrize("reason", range(1, len(REASON_NAMES)))
def test_frame_that_its_transport_refused_is_not_decoded(pipeline: Pipeline, reason: int) -> None:
    assert only_refusal(pipeline, Message(pack(GOOD), reason=reason)) == (REASON_NAMES[reason], "", 1)


def test_reason_that_is_none_is_an_error_of_the_transport(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError):
        pipeline.fill([Message(pack(GOOD), reason=len(REASON_NAMES))])


def test_good_readings_go_on_beside_refused_ones(pipeline: Pipeline) -> None:
    message = Message(pack(GOOD, {"n": "pm25", "v": 1}, {"n": "rain_mm", "s": 5}, {"n": "temperature_cel", "v": 3}))
    rows, quarantine = pipeline.run([message])
    assert [row["value"] for row in rows] == [1.0, 3.0]
    assert [(row["reason"], row["detail"], row["readings"]) for row in quarantine] == [
        ("unknown_metric", b"metric pm25, reading 2", 2)
    ]
    assert pipeline.resolver.counters.refused == {"unknown_metric": 1, "sum_without_value": 1}


def test_texts_are_stored_whatever_unit_they_name(pipeline: Pipeline) -> None:
    records = (
        {"bn": "wl-1:", "bu": "furlong", "n": "rain_mm", "vs": "drizzle é"},
        {"n": "rain_mm", "vb": False, "t": -1},
        {"n": "rain_mm", "vd": "_-8A", "t": -2},
    )
    assert pipeline.run([Message(pack(*records), "gw-1", "gateway")]) == ([], [])
    assert [(row["ts"] - NOW_MS, row["kind"], row["value"]) for row in pipeline.texts] == [
        (0, "string", "drizzle é".encode()),
        (-1000, "boolean", b"false"),
        (-2000, "data", b"\xff\xef\x00"),
    ]
    assert {(row["device_num"], row["metric_num"], row["quality"], row["ward_code"]) for row in pipeline.texts} == {
        (11, 4, 2, "00070")
    }
    assert pipeline.batch.rows == 0


def test_bad_payload_does_not_disturb_its_neighbours(pipeline: Pipeline) -> None:
    bad = [message for message, _, _ in REFUSED]
    mixed = [one for message in bad for one in (Message(pack(GOOD), "wl-1"), message)]
    rows, quarantine = pipeline.run([*mixed, Message(pack(GOOD), "wl-2")])
    assert [row["device_num"] for row in rows] == [11] * len(bad) + [12]
    assert sorted(row["payload"] for row in quarantine) == sorted(message.payload for message in bad)


def test_gateway_may_send_its_own_readings_and_those_of_devices_behind_it(pipeline: Pipeline) -> None:
    records = [
        {"n": "temperature_cel", "v": 1},
        {"n": "gw-1:temperature_cel", "v": 2},
        {"bn": "urn:dev:cf:wl-1:", "n": "temperature_cel", "v": 3},
        {"bn": "", "n": "tc-1/vehicle_count", "v": 4},
    ]
    rows, quarantine = pipeline.run([Message(pack(*records), "gw-1", "gateway")])
    assert [(row["device_num"], row["value"]) for row in rows] == [(31, 1.0), (31, 2.0), (11, 3.0), (21, 4.0)]
    assert quarantine == []


def test_encoding_of_the_type_holds_where_the_topic_names_none(pipeline: Pipeline) -> None:
    rows, quarantine = pipeline.run(
        [
            Message(pack(GOOD), "wl-1", encoding=""),
            Message(batch(metrics=["vehicle_count"], value=[5]), "tc-1", encoding=""),
        ]
    )
    assert [row["value"] for row in rows] == [1.0, 5.0]
    assert quarantine == []


def test_window_includes_its_ends(pipeline: Pipeline) -> None:
    def send(when_ms: int) -> int:
        payload = telemetry_pb2.ReadingBatch(base_time_ms=when_ms, metrics=["rain_mm"], value=[1]).SerializeToString()
        return len(pipeline.run([Message(payload, encoding="batch")])[0])

    latest = NOW_MS + AHEAD_MS
    assert [send(ms) for ms in (EARLIEST_MS - 1, EARLIEST_MS, latest, latest + 1)] == [0, 1, 1, 0]


def test_quality_is_good_inside_the_range_and_fail_outside_with_its_reason(pipeline: Pipeline) -> None:
    values = [-2.0, 12.5, 12.500000000000002, -2.1]
    rows, _ = pipeline.run([Message(pack(*({"n": "water_level_m", "v": value} for value in values)))])
    assert [(row["value"], row["quality"], row["quality_reasons"]) for row in rows] == [
        (-2.0, 1, 0),
        (12.5, 1, 0),
        (12.500000000000002, 4, 1),
        (-2.1, 4, 1),
    ]
    rows, _ = pipeline.run([Message(pack({"n": "temperature_cel", "v": 1e9}, {"n": "rain_mm", "v": 1e9}))])
    assert [row["quality"] for row in rows] == [2, 1]


@pytest.mark.parametrize(
    ("when", "value", "quality", "reasons"),
    [
        ("2026-11-15T00:00:00Z", 50, 1, 0),
        ("2026-11-15T00:00:00Z", 30, 1, 0),
        ("2026-11-15T00:00:00Z", 29, 3, 8),
        ("2026-11-15T00:00:00Z", 4, 3, 10),
        ("2026-11-15T00:00:00Z", -1, 4, 9),
        ("2026-11-30T16:59:59.999Z", 20, 3, 8),  # the last millisecond of November in Hanoi
        ("2026-11-30T17:00:00Z", 20, 1, 0),
        ("2026-11-30T17:00:00Z", 9, 4, 4),
        ("2026-02-28T16:59:59.999Z", 19, 4, 4),
        ("2026-02-28T17:00:00Z", 19, 1, 0),
        ("2024-02-29T16:00:00Z", 39, 3, 8),
        ("2024-02-29T17:00:00Z", 39, 1, 0),
        ("2026-06-15T00:00:00Z", 99.5, 3, 2),
    ],
)
def test_suspect_span_and_climatology_give_flags_and_reasons(
    pipeline: Pipeline, when: str, value: float, quality: int, reasons: int
) -> None:
    now_ms = int(datetime.fromisoformat(when).timestamp() * 1000)
    message = Message(pack({"n": "humidity_pct", "v": value}), received_ms=now_ms)
    ((row,), _) = pipeline.run([message])
    assert (row["quality"], row["quality_reasons"]) == (quality, reasons)


def test_month_is_that_of_the_calendar_for_every_day_of_four_centuries() -> None:
    index = DeviceIndex()
    index.put_metric(1, "m", "1")
    spans = {1: ((None, None), {month: ((month, month), (None, None)) for month in range(1, 13)})}
    index.put_type(1, "t", False, "batch", [(1, None, None)], None, spans)
    index.put_device(1, "d", 1, "", 0, [], True)
    days = [datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(146_097)]
    payload = telemetry_pb2.ReadingBatch(
        base_time_ms=int(days[0].timestamp() * 1000) - 7 * 3_600_000,
        metrics=["m"],
        time_delta_ms=[0, *[86_400_000] * (len(days) - 1)],
        value=[day.month for day in days],
    ).SerializeToString()
    pipeline = Pipeline(index)
    pipeline.resolver = Resolver(index, TimeWindow(0, 1 << 60))
    pipeline.fill([Message(payload, "d", encoding="batch")])
    pipeline.resolver.resolve(pipeline.readings, pipeline.batch)
    rows = read_blocks(pipeline.batch.seal().blocks[0])
    assert len(rows) == len(days)
    assert {row["quality"] for row in rows} == {1}


def test_index_may_change_between_chunks(pipeline: Pipeline) -> None:
    moved = pack({"n": "wl-2:rain_mm", "v": 1})
    assert pipeline.run([Message(moved, "gw-1", "gateway")])[0] == []
    pipeline.index.put_device(12, "wl-2", 1, "00777", 31, [], True)
    rows, _ = pipeline.run([Message(moved, "gw-1", "gateway")])
    assert rows[0]["ward_code"] == "00777"
    pipeline.index.put_type(1, "gauge", False, "senml-json", [(1, None, None)])
    assert pipeline.run([Message(moved, "gw-1", "gateway")])[1][0]["reason"] == "unknown_metric"


def test_readings_resolve_once(pipeline: Pipeline) -> None:
    pipeline.fill([Message(pack(GOOD))])
    pipeline.resolver.resolve(pipeline.readings, pipeline.batch)
    assert pipeline.batch.rows == 1


def test_long_names_are_cut_between_characters_in_the_detail(pipeline: Pipeline) -> None:
    payload = pack({"n": "rain_mm", "u": "x" + "é" * 100, "v": 1})
    assert only_refusal(pipeline, Message(payload))[:2] == (
        "unknown_unit",
        "unit x" + "é" * 39 + " of metric rain_mm, reading 1",
    )


def test_window_of_the_settings_is_utc_where_no_zone_is_named() -> None:
    assert TimeWindow.parse("2000-01-01T00:00:00Z", 60.5) == TimeWindow(946_684_800_000, 60_500)
    assert TimeWindow.parse("2000-01-01T00:00:00", 0).earliest_ms == 946_684_800_000
    assert TimeWindow.parse("2000-01-01T07:00:00+07:00", 0).earliest_ms == 946_684_800_000
    with pytest.raises(ValueError):
        TimeWindow.parse("yesterday", 0)


def test_device_named_by_its_external_id_is_the_same_device(pipeline: Pipeline) -> None:
    pipeline.index.put_device(11, "wl-1", 1, "00070", 31, [], True, "0004a30b001c0530")
    rows, quarantine = pipeline.run([Message(pack({"n": "0004a30b001c0530:rain_mm", "v": 1}), "gw-1", "gateway")])
    assert quarantine == []
    assert [row["device_num"] for row in rows] == [11]


def test_device_id_goes_before_another_devices_external_id(pipeline: Pipeline) -> None:
    pipeline.index.put_device(21, "tc-1", 2, "", 31, [], True, "wl-1")
    rows, _ = pipeline.run([Message(pack({"n": "wl-1:rain_mm", "v": 1}), "gw-1", "gateway")])
    assert [row["device_num"] for row in rows] == [11]


@pytest.mark.parametrize(("is_trusted", "sender"), [(True, -1), (False, -1), (True, 5), (False, 5)])
def test_whom_a_payload_names_is_believed_only_if_its_deliverer_vouches(pipeline, is_trusted, sender):
    chunk = FrameChunk("broker")
    payload = batch(devices=["wl-1", "wl-old", "nobody"], metrics=["rain_mm"], device_index=[0, 1, 2], value=[1, 2, 3])
    chunk.add(
        b"v3/a/devices/b/up", payload, sender=sender, encoding=2, scope=1, received_ms=NOW_MS, is_trusted=is_trusted
    )
    pipeline.decoder.decode(chunk, pipeline.readings)
    pipeline.resolver.resolve(pipeline.readings, pipeline.batch)
    assert pipeline.batch.seal().rows[:2] == ((1, 1) if is_trusted else (0, 1))
    refused = pipeline.resolver.counters.refused
    if is_trusted:
        assert refused == {"unknown_device": 2}
    elif sender < 0:
        assert refused == {"unknown_device": 3}
    else:
        assert refused == {"not_behind_gateway": 1, "unknown_device": 2}


def test_devices_are_found_in_whatever_order_they_are_named() -> None:
    index = make_index()
    order = random.Random(7)
    children = [f"c-{'x' * (number % 9)}{number}" for number in range(300)]
    for number, name in enumerate(children):
        external = [f"eui-{number}"] if number % 3 == 0 else []
        index.put_device(1000 + number, name, 1, "00070", 31, [], True, *external)
    numbers = {name: 1000 + at for at, name in enumerate(children)}
    numbers |= {f"eui-{at}": 1000 + at for at in range(0, 300, 3)} | {"gw-1": 31}
    pipeline = Pipeline(index)
    for _ in range(60):
        messages, wanted, unknown = [], [], 0
        for _ in range(order.randrange(1, 30)):
            at = order.randrange(300)
            run = children[at : at + order.choice([1, 1, 2, 40, 120])]
            strange = order.choice([[], ["nobody", "x"], order.sample(sorted(numbers), 30)])
            names = order.choice([run, run + strange, strange + run, order.sample(run, len(run))])
            wanted += [numbers[name] for name in names if name in numbers and name != "gw-1"]
            unknown += sum(name not in numbers or name == "gw-1" for name in names)
            body = batch(devices=names, metrics=["rain_mm"], device_index=range(len(names)), value=[1.0] * len(names))
            messages.append(Message(body, "gw-1", "gateway", "batch"))
        rows, quarantine = pipeline.run(messages)
        assert [row["device_num"] for row in rows] == wanted
        assert sum(row["readings"] for row in quarantine) == unknown
