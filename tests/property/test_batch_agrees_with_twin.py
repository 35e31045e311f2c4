"""ReadingBatch: whatever the bytes, the Cython pipeline says what the protobuf runtime and a plain resolver say."""

import struct

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.request_chunk import split_publish_request
from tests.support.pipeline import Message, Pipeline, expected
from tests.support.resolve_twin import DEVICES, NOW_MS, make_index

PIPELINE = Pipeline(make_index())

devices = st.sampled_from([*DEVICES, "none-such", "", "ü"])
metrics = st.sampled_from(["water_level_m", "temperature_cel", "rain_mm", "vehicle_count", "nothing", "", "ü"])
units = st.sampled_from(["", "m", "cm", "Cel", "K", "count", "furlong"])


def column(count: int, items: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
    return st.one_of(
        st.lists(items, min_size=count, max_size=count),
        st.lists(items, max_size=1),
        st.lists(items, max_size=count + 1),
    )


def texts(last_device: int, last_metric: int) -> st.SearchStrategy[telemetry_pb2.TextReading]:
    values = st.one_of(
        st.text().map(lambda value: {"text": value}),
        st.booleans().map(lambda value: {"boolean": value}),
        st.binary().map(lambda value: {"data": value}),
        st.sampled_from([{}, {"text": "x" * 200}]),
    )
    times = st.one_of(st.integers(-1000, 1000), st.sampled_from([2**63 - 1, -(2**63)]))
    parts = st.tuples(values, st.integers(0, last_device), st.integers(0, last_metric), times)
    return parts.map(
        lambda part: telemetry_pb2.TextReading(
            device_index=part[1], metric_index=part[2], time_delta_ms=part[3], **part[0]
        )
    )


@st.composite
def batches(draw: st.DrawFn) -> telemetry_pb2.ReadingBatch:
    count = draw(st.sampled_from([0, 1, 1, 2, 3, 5]))
    named = draw(st.lists(devices, max_size=3))
    measured = draw(st.lists(metrics, min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3))
    odd = draw(st.integers(0, 9)) == 0
    return telemetry_pb2.ReadingBatch(
        base_time_ms=draw(st.sampled_from([NOW_MS, NOW_MS - 1, 0, 946_684_800_000, 2**63 - 1, -(2**63)])),
        devices=named,
        metrics=measured,
        units=draw(st.one_of(st.just([]), st.lists(units, min_size=len(measured), max_size=len(measured) + odd))),
        device_index=draw(column(count, st.integers(0, max(len(named) - 1 + odd, 0)))),
        metric_index=draw(column(count, st.integers(0, max(len(measured) - 1 + odd, 0)))),
        time_delta_ms=draw(column(count, st.one_of(st.integers(-1000, 1000), st.sampled_from([2**63 - 1, -(2**63)])))),
        value=draw(st.lists(st.floats(), min_size=count, max_size=count)),
        texts=draw(st.lists(texts(max(len(named), 1) - 1 + odd, max(len(measured), 1) - 1 + odd), max_size=2)),
    )


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> int:
    return value << 1 ^ value >> 63 if value >= 0 else (-value << 1) - 1


def in_reverse(text: telemetry_pb2.TextReading) -> bytes:
    """The fields of a text in the other order, one of another type before them, the value twice."""
    fields = [
        telemetry_pb2.TextReading(**{field.name: value}).SerializeToString() for field, value in text.ListFields()
    ]
    first = b"\x28\x01" if text.WhichOneof("value") else b""
    return b"\x3a\x01x" + b"\x0d0123" + first + b"".join(reversed(fields))


def unpacked(batch: telemetry_pb2.ReadingBatch) -> bytes:
    """The same message with every repeated number a field of its own, and columns interleaved with strings."""
    out = [b"\x08" + varint(zigzag(batch.base_time_ms))]
    for number, column_ in ((5, batch.device_index), (6, batch.metric_index)):
        out += [varint(number << 3) + varint(item) for item in column_]
    out += [varint(7 << 3) + varint(zigzag(item)) for item in batch.time_delta_ms]
    out += [varint(8 << 3 | 1) + struct.pack("<d", item) for item in batch.value]
    out += [varint(9 << 3 | 2) + varint(len(data)) + data for data in map(in_reverse, batch.texts)]
    for number, strings in ((2, batch.devices), (3, batch.metrics), (4, batch.units)):
        out += [varint(number << 3 | 2) + varint(len(text.encode())) + text.encode() for text in strings]
    return b"".join(out)


def compare(messages: list[Message]) -> None:
    found, wanted = PIPELINE.outcome(messages), expected(messages)
    assert found.quarantine == wanted.quarantine
    assert found.texts == wanted.texts
    assert [{**row, "value": struct.pack("d", row["value"])} for row in found.rows] == [
        {**row, "value": struct.pack("d", row["value"])} for row in wanted.rows
    ]


@settings(max_examples=150, deadline=None)
@given(
    batches(),
    st.sampled_from([*DEVICES, None]),
    st.sampled_from(["device", "gateway"]),
    st.sampled_from(["runtime", "unpacked", "twice", "unknown"]),
)
def test_batches_become_the_twins_rows_bit_by_bit(
    batch: telemetry_pb2.ReadingBatch, sender: str | None, scope: str, form: str
) -> None:
    payload = batch.SerializeToString()
    if form == "unpacked":
        payload = unpacked(batch)
    elif form == "twice":  # concatenated messages are merged: columns grow, the base time is the last one
        payload += unpacked(batch)
    elif form == "unknown":
        payload = (
            b"\x78\x05"
            + payload
            + b"\x82\x01\x02hi"
            + b"\x8b\x01\x08\x05\x8c\x01"
            + b"\x95\x01abcd"
            + b"\x99\x01abcdefgh"
        )
    compare([Message(payload, sender, scope, "batch")])


@settings(max_examples=150, deadline=None)
@given(batches(), st.data())
def test_broken_batches_are_refused_as_the_runtime_refuses_them(
    batch: telemetry_pb2.ReadingBatch, data: st.DataObject
) -> None:
    broken = bytearray(batch.SerializeToString() if data.draw(st.booleans()) else unpacked(batch))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(broken) - 1, 0)))
        what = data.draw(st.sampled_from(["cut", "flip", "byte", "drop"]))
        if what == "cut":
            del broken[at:]
        elif what == "flip" and broken:
            broken[at] ^= 1 << data.draw(st.integers(0, 7))
        elif what == "drop":
            del broken[at : at + data.draw(st.integers(1, 9))]
        else:
            broken[at : at + 1] = data.draw(st.binary(max_size=12))
    compare([Message(bytes(broken), "gw-1", "gateway", "batch")])


GROUP = b"\x7b" * 101 + b"\x7c" * 101


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40))
@example(b"\x00")
@example(b"\x78" + b"\xff" * 9 + b"\x01")
@example(b"\x78" + b"\xff" * 9 + b"\x7f")
@example(b"\x78" + b"\xff" * 10 + b"\x01")
@example(b"\xf8\x80\x80\x80\x00\x01")
@example(b"\x7b\x7c")
@example(b"\x7b\x84\x01")
@example(b"\x7c")
@example(GROUP)
@example(GROUP[1:-1])
@example(b"\x12\x02\xc3\x28")
@example(b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
def test_noise_is_taken_or_refused_as_by_the_runtime(payload: bytes) -> None:
    compare([Message(payload, "gw-1", "gateway", "batch")])
    # in front of a good batch, so that what is skipped as unknown shows
    good = telemetry_pb2.ReadingBatch(base_time_ms=NOW_MS, metrics=["temperature_cel"], value=[1]).SerializeToString()
    compare([Message(payload + good, "gw-1", "gateway", "batch")])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**64 - 1), batches())
def test_publish_request_is_taken_apart(sequence: int, batch: telemetry_pb2.ReadingBatch) -> None:
    request = telemetry_pb2.PublishRequest(sequence=sequence, batch=batch).SerializeToString()
    found, offset, size = split_publish_request(request)
    assert found == sequence
    assert request[offset : offset + size] == batch.SerializeToString()


def test_publish_request_without_a_batch_has_none() -> None:
    assert split_publish_request(b"") == (0, 0, 0)
    assert split_publish_request(telemetry_pb2.PublishRequest(sequence=7).SerializeToString()) == (7, 0, 0)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=30))
def test_publish_request_of_noise_is_refused_or_means_what_the_runtime_reads(noise: bytes) -> None:
    try:
        sequence, offset, size = split_publish_request(noise)
    except ValueError:
        try:
            telemetry_pb2.PublishRequest.FromString(noise)
        except DecodeError:
            return
        # the one thing that is refused here and merged there
        with pytest.raises(ValueError, match="more than one batch"):
            split_publish_request(noise)
        return
    try:
        request = telemetry_pb2.PublishRequest.FromString(noise)
    except DecodeError:
        # only the batch, which is not looked into here, can be what the runtime minds
        with pytest.raises(DecodeError):
            telemetry_pb2.ReadingBatch.FromString(noise[offset : offset + size])
        return
    assert sequence == request.sequence
    assert telemetry_pb2.ReadingBatch.FromString(noise[offset : offset + size]) == request.batch
