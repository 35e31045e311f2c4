"""Device states: what a request to the registry holds after marks, what waits, and that the newest alone is kept."""

import pytest

from cityfleet.registry.v1.device_state_pb2 import DeviceStateReport, ReportDeviceStatesRequest
from ext.telemetry.device_states import ENDS, STREAM_ENDED, DeviceStates
from ext.telemetry.index import DeviceIndex

NOW_MS = 1_790_000_000_000
OPEN, CLOSED = DeviceStateReport.CONNECTION_OPEN, DeviceStateReport.CONNECTION_CLOSED


def make_index(devices: int = 4) -> DeviceIndex:
    """Slot n is device number 100 + n."""
    index = DeviceIndex()
    index.put_type(1, "gauge", False, "json", [])
    for slot in range(devices):
        index.put_device(100 + slot, f"d-{slot}", 1, "", 0, [], True)
    return index


def make_states(index: DeviceIndex | None = None, **limits: int) -> DeviceStates:
    return DeviceStates(index or make_index(), "node/0", 2**64 - 1, {**ENDS, 0x8D: "keep_alive_timeout"}, **limits)


def told(states: DeviceStates) -> dict[int, DeviceStateReport]:
    """The reports of one round, by device number; none comes twice."""
    reports = {}
    states.begin_round()
    while states.left:
        data = states.next_request()
        request = ReportDeviceStatesRequest.FromString(data)
        assert not data or (request.node, request.run) == ("node/0", 2**64 - 1)
        for report in request.reports:
            assert report.device_num not in reports
            reports[report.device_num] = report
    return reports


def test_a_report_says_when_a_device_was_seen_and_when_it_had_a_reading() -> None:
    states = make_states(progress_s=0)
    states.see(0, NOW_MS)
    states.read(1, NOW_MS + 1)
    states.read(1, NOW_MS - 5)
    assert told(states) == {
        100: DeviceStateReport(device_num=100, last_seen_ms=NOW_MS),
        101: DeviceStateReport(device_num=101, last_seen_ms=NOW_MS + 1, last_reading_ms=NOW_MS + 1),
    }
    assert told(states) == {}
    states.see(1, NOW_MS + 2)
    assert told(states) == {101: DeviceStateReport(device_num=101, last_seen_ms=NOW_MS + 2)}


def test_a_connection_counts_from_the_first_to_the_last_and_says_why_it_ended() -> None:
    states = make_states()
    states.open(2)
    opened = told(states)[102]
    assert opened.connection == OPEN
    assert opened.connection_ms == opened.last_seen_ms > NOW_MS - 10**12
    states.open(2)
    states.close(2, 0x8D)
    assert told(states) == {}
    states.close(2, STREAM_ENDED)
    states.close(2, STREAM_ENDED)  # one too many changes nothing
    closed = told(states)[102]
    assert (closed.connection, closed.disconnect_reason) == (CLOSED, "stream_ended")
    assert closed.connection_ms >= closed.opened_ms == opened.connection_ms
    assert opened.opened_ms == 0
    states.open(2)
    states.close(2, 0xF0)
    assert told(states)[102].disconnect_reason == "reason_f0"


def test_what_is_no_news_but_time_waits_and_is_not_lost() -> None:
    states = make_states(progress_s=3600)
    states.see(0, NOW_MS)
    assert list(told(states)) == [100]
    states.see(0, NOW_MS + 1)
    assert told(states) == {}
    assert told(states) == {}
    assert states.counters()["waiting"] == 1
    states.read(0, NOW_MS + 2)  # its first reading is not left for later
    assert told(states)[100].last_reading_ms == NOW_MS + 2
    states.read(0, NOW_MS + 3)
    assert told(states) == {}
    states.open(0)
    report = told(states)[100]
    assert (report.last_reading_ms, report.connection) == (NOW_MS + 3, OPEN)
    assert states.counters()["waiting"] == 0


def test_the_newest_document_of_a_device_is_told_and_bounded_with_all_others() -> None:
    states = make_states(max_document_bytes=2 * (256 + 100))
    assert states.document(0, b'{"a":1}', NOW_MS)
    assert states.document(0, b"{" + b" " * 98 + b"}", NOW_MS + 1)
    assert states.document(0, b'{"old":1}', NOW_MS - 1)  # dropped: a newer one is here
    assert states.document(1, b'{"b":1}', NOW_MS)
    assert not states.document(2, b"{}", NOW_MS)
    reports = told(states)
    assert (reports[100].document, reports[100].document_ms) == (b"{" + b" " * 98 + b"}", NOW_MS + 1)
    assert reports[101].document == b'{"b":1}'
    assert 102 not in reports
    assert not states.document(2, b"{}", NOW_MS)  # what is not answered still takes room
    states.answered()
    assert states.counters() == {
        "waiting": 0,
        "document_bytes": 0,
        "told": 2,
        "documents": 3,
        "documents_refused": 2,
    }
    assert states.document(2, b"{}", NOW_MS)


def test_a_document_is_kept_until_the_registry_has_answered_for_it() -> None:
    states = make_states()
    states.document(0, b'{"a":1}', NOW_MS)
    states.document(1, b'{"b":1}', NOW_MS)
    assert sorted(states.take_fresh()) == [(100, b'{"a":1}', NOW_MS), (101, b'{"b":1}', NOW_MS)]
    assert states.take_fresh() == []
    assert len(told(states)) == 2
    states.document(1, b'{"b":2}', NOW_MS + 1)  # while the request with the first is under way
    assert sorted(states.untold()) == [(100, b'{"a":1}', NOW_MS), (101, b'{"b":2}', NOW_MS + 1)]
    states.answered()
    assert states.untold() == states.take_fresh() == [(101, b'{"b":2}', NOW_MS + 1)]
    assert told(states)[101].document == b'{"b":2}'
    states.answered()
    assert states.untold() == []


def test_a_document_that_was_told_already_is_not_fresh() -> None:
    states = make_states()
    states.document(0, b"{}", NOW_MS)
    told(states)
    states.answered()
    assert states.take_fresh() == []


def test_what_an_earlier_run_left_is_told_though_the_index_has_no_such_device() -> None:
    states = make_states()
    states.recover(777, b'{"a":1}', NOW_MS)
    states.recover(100, b'{"old":1}', NOW_MS)
    states.recover(100, b'{"new":1}', NOW_MS + 1)
    states.recover(101, b"{}", NOW_MS)
    states.recover(101, b'{"older":1}', NOW_MS - 1)
    states.document(1, b'{"newest":1}', NOW_MS + 2)
    assert states.left == 4
    request = ReportDeviceStatesRequest.FromString(states.next_request())
    found = {
        report.device_num: (report.document, report.document_ms, report.last_seen_ms) for report in request.reports
    }
    assert found == {
        777: (b'{"a":1}', NOW_MS, NOW_MS),
        100: (b'{"new":1}', NOW_MS + 1, NOW_MS + 1),
        101: (b'{"newest":1}', NOW_MS + 2, NOW_MS + 2),
    }
    assert states.left == 0
    states.answered()
    assert states.untold() == []
    assert states.counters()["document_bytes"] == 0


def test_documents_of_a_request_that_is_refused_are_told_once_more_each_alone() -> None:
    states = make_states(progress_s=0)
    for slot in range(3):
        states.document(slot, b"{}", NOW_MS)
    assert len(told(states)) == 3
    states.refused()
    alone = []
    while states.left:
        (report,) = ReportDeviceStatesRequest.FromString(states.next_request()).reports
        alone.append(report.device_num)
        if report.device_num == 101:
            states.refused()  # this one it was
        else:
            states.answered()
    assert sorted(alone) == [100, 101, 102]
    assert states.untold() == []
    states.see(0, NOW_MS)
    states.see(1, NOW_MS)
    assert len(told(states)) == 2


def test_a_refused_mark_does_not_cost_the_document_beside_it() -> None:
    states = make_states()
    states.see(0, 1 << 60)
    states.document(0, b"{}", NOW_MS)
    assert told(states)[100].last_seen_ms == 1 << 60
    states.refused()
    (report,) = ReportDeviceStatesRequest.FromString(states.next_request()).reports
    assert (report.document, report.last_seen_ms) == (b"{}", NOW_MS)
    states.refused()
    assert states.left == 0
    assert states.untold() == []


def test_many_devices_come_in_several_requests_each_within_its_bounds() -> None:
    devices = 25_000
    states = make_states(make_index(devices))
    for slot in range(devices):
        states.read(slot, NOW_MS + slot)
    for slot in range(100):
        states.document(slot, b'{"x":"' + b"y" * 16_000 + b'"}', NOW_MS)
    states.begin_round()
    sizes = []
    found = {}
    while states.left:
        data = states.next_request()
        sizes.append(len(data))
        for report in ReportDeviceStatesRequest.FromString(data).reports:
            found[report.device_num] = report.last_reading_ms
    assert found == {100 + slot: NOW_MS + slot for slot in range(devices)}
    assert max(sizes) < 1_100_000
    assert len(sizes) >= 4


def test_marks_made_while_a_round_is_told_are_told_in_the_next() -> None:
    states = make_states(make_index(1_500), progress_s=0)
    for slot in range(1_500):
        states.see(slot, NOW_MS)
    states.begin_round()
    first = ReportDeviceStatesRequest.FromString(states.next_request())
    states.see(0, NOW_MS + 1)  # told already
    states.see(1_499, NOW_MS + 1)  # still to come
    rest = ReportDeviceStatesRequest.FromString(states.next_request())
    assert len(first.reports) + len(rest.reports) == 1_500
    assert states.left == 0
    assert {one.device_num: one.last_seen_ms for one in rest.reports}[100 + 1_499] == NOW_MS + 1
    assert {num: one.last_seen_ms for num, one in told(states).items()} == {100: NOW_MS + 1}


def test_open_connections_are_told_again_when_the_registry_may_have_given_them_up() -> None:
    states = make_states()
    states.open(0)
    states.open(1)
    states.close(1, 0)
    first = told(states)
    states.tell_connections_again()
    assert told(states) == {
        100: DeviceStateReport(
            device_num=100,
            last_seen_ms=first[100].last_seen_ms,
            connection=OPEN,
            connection_ms=first[100].connection_ms,
        )
    }


def test_a_device_that_is_made_anew_has_nothing_of_the_one_before() -> None:
    index = make_index()
    states = make_states(index, progress_s=0)
    states.read(0, NOW_MS)
    told(states)
    index.put_device(777, "d-0", 1, "", 0, [], True)
    states.see(0, NOW_MS + 1)
    assert told(states) == {777: DeviceStateReport(device_num=777, last_seen_ms=NOW_MS + 1)}
    states.document(1, b"{}", NOW_MS)
    index.put_device(778, "d-1", 1, "", 0, [], True)
    reports = told(states)
    assert reports[778].document == b""
    assert reports[101].document == b"{}"  # what the one before said is its own


@pytest.mark.parametrize("slot", [-1, 4, 2**31 - 1])
def test_a_slot_that_the_index_does_not_have_is_refused(slot: int) -> None:
    states = make_states()
    for mark in (
        states.open,
        lambda at: states.close(at, 0),
        lambda at: states.see(at, 1),
        lambda at: states.read(at, 1),
    ):
        with pytest.raises(IndexError):
            mark(slot)


@pytest.mark.parametrize("node", ["", "n" * 64])
def test_a_node_has_a_name_that_the_registry_takes(node: str) -> None:
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        DeviceStates(make_index(), node, 1, {})
