"""States of devices: what ingest reports is what is read, whatever the order and however often it is sent."""

import random

import msgspec
import pytest
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1 import device_state_pb2 as pb
from cityfleet.registry.v1.device_state_pb2_grpc import DeviceStateServiceStub
from registry.api.device_state import fill
from registry.db import dimensions, sequence, states
from registry.db.engine import Database, sqlite_url
from registry.devices import catalogue, fleet, lifecycle
from registry.devices.model import DeviceSpec, TypeSpec
from registry.state.model import Connection, Document, Report
from registry.state.reports import NotAnObjectError, read_document, take_reports
from tests.support.status import fails

T = 1_790_000_000_000
Row = pb.DeviceStateReport


@pytest.fixture
async def database(tmp_path, new_database):
    url = new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(tmp_path / "registry.db")
    opened = Database(url)
    await opened.open()
    await opened.write(catalogue.apply_type, TypeSpec("gauge", expected_interval_s=60), "")
    for number in (1, 2, 3):
        await opened.write(fleet.create_device, DeviceSpec(f"d-{number}", "gauge"), "")
    yield opened
    opened.close()


async def report(database, *reports, node="a", run="1"):
    await database.write(take_reports, node, run, reports)


async def reported(database, number=1):
    return (await database.read(states.known_of, [number], T))[number].reported


async def test_a_device_that_was_never_heard_has_no_state(database):
    known = (await database.read(states.known_of, [1], T))[1]
    assert known.reported is None
    device = device_pb2.Device()
    fill(device, known, T)
    assert device.connectivity == device_pb2.CONNECTIVITY_NEVER_SEEN
    assert not device.HasField("reported")


async def test_times_only_go_forward(database):
    await report(database, Report(1, last_seen_ms=T, last_reading_ms=T - 5), Report(2, last_seen_ms=T))
    await report(database, Report(1, last_seen_ms=T - 100, last_reading_ms=T - 100), Report(3, last_seen_ms=T))
    state = await reported(database)
    assert (state.last_seen_ms, state.last_reading_ms) == (T, T - 5)
    assert (await reported(database, 3)).last_reading_ms is None


async def test_a_device_that_is_not_there_is_left_out(database):
    await report(database, Report(77, last_seen_ms=T, document=Document("{}", T)), Report(1, last_seen_ms=T))
    assert await database.read(states.known_of, [77], T) == {}
    assert (await reported(database)).last_seen_ms == T


async def test_a_connection_is_opened_and_closed_with_its_reason(database):
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T))
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms, state.last_seen_ms) == (True, T, T)
    await report(database, Report(1, connection=Connection.CLOSED, connection_ms=T + 9, disconnect_reason="timeout"))
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms, state.disconnect_time_ms) == (False, T, T + 9)
    assert state.disconnect_reason == "timeout"


async def test_a_connection_that_has_ended_before_it_was_told_is_known_with_its_beginning(database):
    closed = Report(1, connection=Connection.CLOSED, connection_ms=T + 9, disconnect_reason="gone", opened_ms=T + 2)
    await report(database, closed)
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms, state.disconnect_time_ms) == (False, T + 2, T + 9)
    await report(database, msgspec.structs.replace(closed, connection_ms=T + 30, opened_ms=T + 20))
    await report(database, msgspec.structs.replace(closed, connection_ms=T + 30, opened_ms=T + 19))
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms, state.disconnect_time_ms) == (False, T + 20, T + 30)


async def test_a_device_that_went_to_another_node_stays_connected(database):
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T), node="a")
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T + 10), node="b")
    # The first node's clock is ahead, and it tells late.
    await report(database, Report(1, connection=Connection.CLOSED, connection_ms=T + 12), node="a")
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T), node="a")
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms) == (True, T + 10)


OPEN, CLOSED = Connection.OPEN, Connection.CLOSED


@pytest.mark.parametrize("first", ["a", "b"])
async def test_a_device_at_several_nodes_is_connected_until_the_last_one_closes(database, first):
    other = "b" if first == "a" else "a"
    both = Report(2, connection=OPEN, connection_ms=T + 1)
    await report(database, Report(1, connection=OPEN, connection_ms=T), both, node="a")
    await report(database, Report(1, connection=OPEN, connection_ms=T + 10), both, node="b")
    assert (await reported(database)).connect_time_ms == T + 10
    await report(database, Report(1, connection=CLOSED, connection_ms=T + 20, disconnect_reason="gone"), node=first)
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms) == (True, T if first == "b" else T + 10)
    await report(database, Report(1, connection=CLOSED, connection_ms=T + 30, disconnect_reason="late"), node=other)
    state = await reported(database)
    assert (state.is_connected, state.disconnect_time_ms, state.disconnect_reason) == (False, T + 30, "late")
    assert (await reported(database, 2)).is_connected  # it was left alone


async def test_nodes_that_are_gone_do_not_count_among_those_of_a_device(database):
    for at, node in enumerate("abc"):
        await report(database, Report(1, connection=OPEN, connection_ms=T + at), node=node)
    await report(database, node="c", run="2")  # started again
    assert (await reported(database)).connect_time_ms == T + 1
    await report(database, node="a", run="2")
    await report(database, Report(1, connection=CLOSED, connection_ms=T + 9), node="b")
    assert not (await reported(database)).is_connected


async def test_a_node_that_was_given_up_and_is_back_has_its_devices_connected(database):
    await report(database, Report(1, connection=OPEN, connection_ms=T), node="a")
    await report(database, Report(1, connection=OPEN, connection_ms=T + 5), node="b")
    now = sequence.now_ms()
    await database.write(states.forget_unheard, now + 60_000, now)
    assert not (await reported(database)).is_connected
    # It never lost the connection, which is older than the other one.
    await report(database, Report(1, connection=OPEN, connection_ms=T), node="a")
    state = await reported(database)
    assert (state.is_connected, state.connect_time_ms) == (True, T)
    await report(database, Report(1, connection=OPEN, connection_ms=T + 5), node="b")
    await report(database, Report(1, connection=CLOSED, connection_ms=T + 6), node="b")
    assert (await reported(database)).is_connected


async def test_a_random_history_of_openings_and_closings_ends_as_it_should(database):
    chance = random.Random(7)
    open_at: dict[str, int] = {}
    runs = dict.fromkeys("abcd", "1")
    for step in range(150):
        node = chance.choice("abcd")
        what = chance.random()
        if what < 0.1:
            runs[node] = f"again-{step}"
            await report(database, node=node, run=runs[node])
            open_at.pop(node, None)
        elif what < 0.55:
            open_at[node] = T + step
            opening = Report(1, connection=OPEN, connection_ms=T + step)
            await report(database, opening, node=node, run=runs[node])
        elif node in open_at:
            del open_at[node]
            closing = Report(1, connection=CLOSED, connection_ms=T + step)
            await report(database, closing, node=node, run=runs[node])
        state = await reported(database)
        assert (state is not None and state.is_connected) == bool(open_at)
        if open_at:
            assert state.connect_time_ms == max(open_at.values())


async def test_a_node_that_starts_again_has_nobody_connected(database):
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T), node="a", run="1")
    await report(database, Report(2, connection=Connection.OPEN, connection_ms=T), node="b", run="1")
    await report(database, node="a", run="2")
    state = await reported(database, 1)
    assert (state.is_connected, state.disconnect_reason) == (False, "ingest_restarted")
    assert (await reported(database, 2)).is_connected


async def test_a_node_that_is_not_heard_any_more_has_nobody_connected(database):
    await report(database, Report(1, connection=Connection.OPEN, connection_ms=T), node="a")
    now = sequence.now_ms()
    assert await database.write(states.forget_unheard, now - 60_000, now) == []
    assert await database.write(states.forget_unheard, now + 60_000, now) == ["a"]
    state = await reported(database, 1)
    assert (state.is_connected, state.disconnect_reason) == (False, "ingest_lost")
    assert await database.read(states.unheard_nodes, now + 60_000) == []


async def test_only_what_is_worth_telling_takes_a_revision(database):
    async def grows(*reports):
        before = (await database.read(sequence.head)).revision
        await report(database, *reports)
        return (await database.read(sequence.head)).revision - before

    now = sequence.now_ms()
    long_ago = now - 600_000  # of an interval of 60 s
    first = Report(1, last_seen_ms=long_ago, last_reading_ms=long_ago)
    assert await grows(first, Report(2, last_seen_ms=long_ago)) == 1
    assert await grows(Report(1, last_seen_ms=now - 540_000, last_reading_ms=now - 540_000)) == 0  # silent still
    assert await grows(Report(2, last_reading_ms=now - 540_000)) == 1  # its first
    assert await grows(Report(1, last_reading_ms=now - 200_000)) == 1  # not silent any more, but late
    assert await grows(Report(1, last_reading_ms=now - 100_000)) == 1  # nor late, and online
    assert await grows(Report(1, last_reading_ms=now)) == 0
    assert await grows(Report(1, last_reading_ms=now + 600_000)) == 0
    assert await grows(Report(1, last_seen_ms=now + 1000, document=Document("{}", now))) == 1
    assert await grows() == 0


async def test_the_newest_document_stays(database):
    newer = Document('{"firmware_version":"2.1"}', T, "2.1", 7, "b")
    await report(database, Report(1, last_seen_ms=T, document=newer))
    await report(database, Report(1, last_seen_ms=T, document=Document("{}", T - 1)))
    state = await reported(database)
    assert (state.firmware_version, state.config_version, state.hardware_revision) == ("2.1", 7, "b")
    assert await database.read(states.documents_of, [1, 2]) == {1: (newer.text, T)}


async def test_the_store_is_told_of_what_changed_and_where_the_device_stands(database):
    """What is new after a revision, of documents and of devices that moved; the same said again is not."""

    async def told(after):
        until = (await database.read(sequence.head)).revision
        new = await database.read(dimensions.reported_between, after, until, 1 << 62, 10)
        moved = await database.read(dimensions.reported_of_changed, after, until, 10, after)
        rows = [row for _, row in new + moved]
        found = [(row.device_num, row.firmware_version, row.config_version, row.last_calibration) for row in rows]
        return until, found, [row.version for row in rows]

    def said(number, time_ms, raw):
        return Report(number, last_seen_ms=T, document=read_document(raw, time_ms))

    start, found, _ = await told(0)
    assert found == []
    first = b'{"firmware_version":"2.1","config_version":7,"last_calibration":"2026-03-01T07:00:00+07:00"}'
    await report(database, said(1, T, first), said(2, T, b'{"firmware_version":"2.1"}'))
    after, found, versions = await told(start)
    assert found == [(1, "2.1", 7, "2026-03-01"), (2, "2.1", 0, "")]
    # Two of one revision, read one by one.
    page = await database.read(dimensions.reported_between, start, after, 1 << 62, 1)
    rest = await database.read(dimensions.reported_between, page[0][0], after, page[0][1].device_num, 10)
    assert [row.device_num for _, row in page + rest] == [1, 2]
    await report(
        database, said(1, T + 1, first.replace(b"{", b'{"other":1,')), said(2, T - 1, b'{"firmware_version":"1"}')
    )
    again, found, _ = await told(after)
    assert found == []
    await report(database, said(1, T + 2, first.replace(b"2026-03-01", b"2026-04-01")))
    last, found, later = await told(again)
    assert found == [(1, "2.1", 7, "2026-04-01")]
    assert later[0] > versions[0]
    await database.write(lifecycle.decommission_device, "d-2", "")
    _, found, later = await told(last)
    assert found == [(2, "2.1", 0, "")]
    assert later[0] > last
    assert (await database.read(dimensions.expected, last)).reported == 2


@pytest.mark.parametrize(
    ("said", "kept"),
    [('"2026-03-01"', "2026-03-01"), ('"2026-3-1"', ""), ('"20260301"', ""), ('"1969-01-01"', ""), ('"2200-01-01"', ""),
     ('"2026-02-30"', ""), ("20260301", ""), ("null", ""), ('"2026-W10-7"', "")],
)  # fmt: skip
def test_a_calibration_has_a_day(said, kept):
    assert read_document(f'{{"last_calibration":{said}}}'.encode(), T).last_calibration == kept


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b"{", b'{"a":"\xff"}', b'{"a":"' + b"x" * 16_384 + b'"}', b'{"a":' * 5000, b"\x00"]
)
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(NotAnObjectError):
        read_document(raw, T)


def test_facts_of_another_type_are_left_out():
    found = read_document(b'{"firmware_version":7,"config_version":"x","hardware_revision":null,"battery":[1]}', T)
    assert (found.firmware_version, found.config_version, found.hardware_revision) == ("", 0, "")
    assert read_document(b'{"config_version":9223372036854775808}', T).config_version == 0
    assert read_document(b'{"config_version":true}', T).config_version == 0
    assert read_document(b'{"config_version":12}', T).config_version == 12


def test_ingest_reports_by_a_stream(registry, stubs):
    made = stubs.devices.CreateDevice(
        device_pb2.CreateDeviceRequest(device_id="state-1", device=device_pb2.Device(device_type="gauge"))
    )
    num = made.device.device_num
    rows = [Row(device_num=num, last_seen_ms=T, document=b"[]", document_ms=T), Row(device_num=num, last_seen_ms=T)]
    requests = [pb.ReportDeviceStatesRequest(node="a", run=(1 << 64) - 1, reports=rows)] * 2
    answers = list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(iter(requests), metadata=registry.metadata))
    assert [(answer.accepted, answer.refused_documents) for answer in answers] == [(1, 1)] * 2


def test_a_device_is_shown_with_its_state(registry, stubs):
    gateway = create(stubs, "shown-gw", device_type="gateway")
    num = create(stubs, "shown-1", device_type="gauge", gateway="shown-gw").device_num
    name = "devices/shown-1"
    seen = stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name=name))
    assert (seen.connectivity, seen.health) == (device_pb2.CONNECTIVITY_NEVER_SEEN, device_pb2.HEALTH_UNKNOWN)
    now = sequence.now_ms()
    rows = [
        Row(device_num=gateway.device_num, connection=Row.CONNECTION_OPEN, connection_ms=now),
        Row(device_num=num, last_reading_ms=now, document=b'{"firmware_version": "2.1"}', document_ms=now),
    ]
    requests = iter([pb.ReportDeviceStatesRequest(node="shown", run=1, reports=rows)])
    list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(requests, metadata=registry.metadata))
    seen = stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name=name))
    assert seen.connectivity == device_pb2.CONNECTIVITY_ONLINE
    assert (seen.reported.firmware_version, seen.reported.document) == ("2.1", '{"firmware_version": "2.1"}')
    assert seen.reported.last_seen_time == seen.reported.last_reading_time
    assert seen.reported.last_seen_time.ToMilliseconds() == now
    basic = device_pb2.GetDeviceRequest(name=name, view=device_pb2.DEVICE_VIEW_BASIC)
    assert not stubs.devices.GetDevice(basic).reported.document
    shown = stubs.devices.GetDevice(device_pb2.GetDeviceRequest(name="devices/shown-gw"))
    assert shown.reported.is_connected
    assert shown.reported.connect_time.ToMilliseconds() == now


def create(stubs, device_id, **fields):
    request = device_pb2.CreateDeviceRequest(device_id=device_id, device=device_pb2.Device(**fields))
    return stubs.devices.CreateDevice(request).device


def test_only_ingest_may_report(registry, stubs):
    # The channel's own token is the administrator's.
    nonsense = (("authorization", "Bearer nonsense"),)
    for metadata, code, reason in (
        ((), "PERMISSION_DENIED", "SERVICES_ONLY"),
        (nonsense, "UNAUTHENTICATED", "UNAUTHENTICATED"),
    ):
        with fails(StatusCode[code], reason):
            list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(iter([]), metadata=metadata))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.ReportDeviceStatesRequest(), "NODE_INVALID"),
        (pb.ReportDeviceStatesRequest(node="a", reports=[Row(last_seen_ms=-1)]), "TIME_INVALID"),
        (pb.ReportDeviceStatesRequest(node="a", reports=[Row(last_seen_ms=1 << 60)]), "TIME_INVALID"),
        (pb.ReportDeviceStatesRequest(node="a", reports=[Row(connection=9)]), "CONNECTION_UNKNOWN"),
    ],
)
def test_a_report_that_is_wrong_is_refused(registry, stubs, request_, reason):
    with fails(StatusCode.INVALID_ARGUMENT, reason):
        list(DeviceStateServiceStub(stubs.channel).ReportDeviceStates(iter([request_]), metadata=registry.metadata))
