"""Sparkplug edge nodes over time: sequence numbers, deaths, rebirths that are due, and what survives a restart."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ext.telemetry.index import DeviceIndex
from ext.telemetry.sparkplug_births import Births
from tests.support.sparkplug_host import NOW_MS, DecodingHost
from tests.support.sparkplug_twin import Outcome
from tests.unit.ext.telemetry.test_sparkplug import (
    DBIRTH,
    DDATA,
    DDEATH,
    LEVEL,
    NBIRTH,
    NDATA,
    NDEATH,
    bd_seq,
    birth,
    data,
    metric,
    payload,
)

REORDER_MS = 5_000
LATER_MS = NOW_MS + REORDER_MS


@pytest.fixture
def host() -> DecodingHost:
    host = DecodingHost()
    host.take(NBIRTH, birth(metric(1.0, **LEVEL)))
    return host


def send(host: DecodingHost, *numbers: int, at_ms: int = NOW_MS) -> list[Outcome]:
    return [host.take(NDATA, data(metric(1.0, alias=7), seq=number), at_ms) for number in numbers]


def is_stored(outcome: Outcome) -> bool:
    return [row[5] for row in outcome.numbers] == [""]


def death(number: int | None) -> bytes:
    return payload(*([] if number is None else [bd_seq(number)]), timestamp=NOW_MS)


# --- order


def test_a_whole_round_and_more_has_no_gap(host):
    assert all(map(is_stored, send(host, *(number % 256 for number in range(1, 700)))))
    assert (host.births.gaps, host.wants(LATER_MS)) == (0, [])


@pytest.mark.parametrize("first", [0, 1, 17, 255])
def test_a_node_may_be_born_with_any_number(host, first):
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), seq=first))
    send(host, (first + 1) % 256, (first + 2) % 256)
    assert host.births.gaps == 0


def test_all_kinds_of_messages_but_deaths_of_nodes_share_the_numbers(host):
    host.take(DBIRTH, payload(metric(1.0, name="rain", alias=8, datatype=10), seq=1))
    host.take(DDATA, data(metric(1.0, alias=8), seq=2))
    host.take(NDATA, data(metric(1.0, alias=7), seq=3))
    host.take(DDEATH, payload(seq=4))
    host.take(NDATA, data(metric(1.0, alias=7), seq=5))
    assert host.births.gaps == 0


def test_tck_operational_behavior_host_reordering_start(host):
    """Data behind a gap is stored at once; the missing are waited for."""
    assert is_stored(send(host, 3)[0])
    assert (host.births.gaps, host.births.missing) == (1, 2)
    assert host.wants(LATER_MS - 1) == []


def test_tck_operational_behavior_host_reordering_rebirth(host):
    send(host, 3)
    assert host.wants(LATER_MS) == [b"G/E"]


def test_tck_operational_behavior_host_reordering_param(host):
    send(host, 3)
    assert host.wants(NOW_MS + 99, reorder_ms=100) == []
    assert host.wants(NOW_MS + 100, reorder_ms=100) == [b"G/E"]


def test_tck_operational_behavior_host_reordering_success(host):
    """Those that come late in any order are stored and end the wait."""
    assert all(map(is_stored, send(host, 4, 2, 3, 1, 5)))
    assert (host.births.gaps, host.births.late) == (1, 3)
    assert host.wants(LATER_MS) == []


def test_a_gap_over_the_turn_of_the_numbers(host):
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), seq=253))
    send(host, 1)  # 254, 255 and 0 are missing
    assert host.births.missing == 3
    send(host, 0, 254, 255)
    assert host.wants(LATER_MS) == []


def test_a_part_of_the_missing_does_not_end_the_wait(host):
    send(host, 4, 2)
    assert host.wants(LATER_MS) == [b"G/E"]


def test_a_message_twice_is_no_gap(host):
    send(host, 1, 2, 2, 1, 3)
    assert (host.births.gaps, host.births.repeated) == (0, 2)


def test_a_number_that_stays_away_for_a_whole_round_is_lost(host):
    send(host, 2, *range(3, 256), 0, 1)  # the first 1 never came, the second is in order
    assert host.births.gaps == 1
    assert host.wants(NOW_MS) == [b"G/E"]


def test_a_birth_ends_the_wait(host):
    send(host, 9)
    host.take(NBIRTH, birth(metric(1.0, **LEVEL)))
    assert host.wants(LATER_MS) == []


def test_a_payload_that_cannot_be_decoded_leaves_a_gap(host):
    host.take(NDATA, b"\x12\xff")
    send(host, 2)
    assert host.births.missing == 1


# --- deaths


def test_tck_operational_behavior_edge_node_termination_host_action_ndeath_node_tags_stale(host):
    assert host.take(NDEATH, death(0)) == Outcome([], [])
    assert (host.births.deaths, host.births.born_nodes) == (1, 0)
    assert [event[0] for event in host.births.take_events()] == ["born", "dead"]
    assert send(host, 1)[0].numbers[0][5] == "unknown_alias"
    assert host.wants() == [b"G/E"]


def test_tck_operational_behavior_edge_node_termination_host_action_ndeath_devices_tags_stale(host):
    host.take(DBIRTH, payload(metric(1.0, **LEVEL), seq=1))
    host.take(NDEATH, death(0))
    assert (host.births.born_nodes, host.births.born_devices) == (0, 0)


def test_tck_operational_behavior_edge_node_termination_host_action_ddeath_devices_tags_stale(host):
    host.take(DBIRTH, payload(metric(1.0, **LEVEL), seq=1))
    host.take(DDEATH, payload(seq=2))
    assert (host.births.born_nodes, host.births.born_devices) == (1, 0)
    assert is_stored(send(host, 3)[0])
    assert host.births.gaps == 0


def test_tck_operational_behavior_edge_node_termination_host_action_ndeath_bdseq(host):
    """The will of an older connection says nothing about the present one."""
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), bd=5))
    host.take(NDEATH, death(4))
    assert (host.births.deaths, host.births.deaths_ignored) == (0, 1)
    assert is_stored(send(host, 1)[0])
    host.take(NDEATH, death(5))
    assert host.births.born_nodes == 0


def test_a_death_without_a_number_counts(host):
    host.take(NDEATH, death(None))
    assert host.births.born_nodes == 0


def test_a_second_death_is_ignored(host):
    host.take(NDEATH, death(0))
    host.take(NDEATH, death(0))
    assert (host.births.deaths, host.births.deaths_ignored) == (1, 1)


# --- rebirths


def test_data_of_a_node_that_was_never_born_asks_for_its_birth():
    host = DecodingHost()
    assert is_stored(host.take(NDATA, data(metric(1.0, name="level", datatype=10))))  # it says itself what it is
    assert host.wants() == [b"G/E"]


def test_data_of_a_device_that_was_never_born_asks_the_node(host):
    host.take(DDATA, data(metric(1.0, alias=8)))
    assert host.wants() == [b"G/E"]


def test_an_unknown_alias_asks_for_a_birth(host):
    host.take(NDATA, data(metric(1.0, alias=99)))
    assert host.wants() == [b"G/E"]


def test_a_node_is_asked_less_and_less_often_while_no_birth_comes(host):
    asked = []
    for second in range(400):
        host.take(NDATA, data(metric(1.0, alias=99), seq=(second + 1) % 256), NOW_MS + second * 1000)
        if host.wants(NOW_MS + second * 1000):
            asked.append(second)
    assert asked == [0, 30, 90, 210]
    assert host.births.rebirths_suppressed == 400 - 1


def test_a_node_that_is_born_again_and_again_is_not_asked_more_often(host):
    host.take(NDATA, data(metric(1.0, alias=99)))
    assert host.wants() == [b"G/E"]
    host.take(NBIRTH, birth(metric(1.0, **LEVEL)))
    host.take(NDATA, data(metric(1.0, alias=99)))
    assert host.wants(NOW_MS + 29_999) == []
    assert host.wants(NOW_MS + 30_000) == [b"G/E"]


def test_only_so_many_nodes_are_asked_at_once():
    host = DecodingHost()
    for number in range(10):
        host.take(b"spBv1.0/G/NDATA/%d" % number, data(metric(1.0, alias=1)))
    asked = [host.wants(limit=4) for _ in range(4)]
    assert [len(some) for some in asked] == [4, 4, 2, 0]
    assert len({key for some in asked for key in some}) == 10


# --- memory


def test_what_has_no_room_is_decoded_and_not_remembered():
    host = DecodingHost(Births(max_bytes=2000))
    many = [metric(1.0, name=f"metric-{number}", alias=number, datatype=10) for number in range(100)]
    assert len(host.take(NBIRTH, birth(*many)).numbers) == 100
    assert (host.births.births_refused, host.births.born_nodes) == (1, 0)
    assert host.births.held_bytes <= 2000


def test_the_dead_make_room_for_the_living():
    births = Births(max_bytes=3000)
    host = DecodingHost(births)
    for number in range(50):
        node = b"%d" % number
        host.take(b"spBv1.0/G/NBIRTH/" + node, birth(metric(1.0, **LEVEL)), NOW_MS + 2 * number)
        host.take(b"spBv1.0/G/NDEATH/" + node, death(0), NOW_MS + 2 * number)
    assert births.evicted > 30
    assert births.births_refused == 0
    assert births.held_bytes <= 3000
    host.take(NBIRTH, birth(metric(1.0, **LEVEL)), NOW_MS + 1000)
    assert is_stored(send(host, 1)[0])


def test_one_gateway_cannot_fill_the_table():
    host = DecodingHost(Births(max_of_sender=5), index=one_gateway(), sender=0)
    for number in range(9):
        host.take(b"spBv1.0/G/NBIRTH/%d" % number, birth(metric(1.0, **LEVEL)))
    assert (len(host.births), host.births.births_refused) == (5, 4)


def test_one_gateway_gets_an_eighth_of_the_memory():
    births = Births(max_bytes=80_000)
    gateway = DecodingHost(births, index=one_gateway(), sender=0)
    broker = DecodingHost(births)
    many = birth(*(metric(1.0, name=f"metric-{number}", alias=number, datatype=10) for number in range(50)))
    for number in range(30):
        gateway.take(b"spBv1.0/G/NBIRTH/%d" % number, many)
    assert 5_000 < births.held_bytes <= 10_000
    broker.take(NBIRTH, many)
    assert births.known(0, b"G/E")["is_born"]


def one_gateway() -> DeviceIndex:
    index = DeviceIndex()
    index.put_device(1, "gw-1", 1, "00070", 0, [], True)
    return index


# --- the file


def restarted(host: DecodingHost, data: bytes | None = None) -> DecodingHost:
    births = Births()
    births.load(host.births.take_journal() if data is None else data)
    return DecodingHost(births)


def test_aliases_hold_after_a_restart_and_a_birth_is_asked_for_to_confirm_them(host):
    host.take(DBIRTH, payload(metric(1.0, name="rain", alias=8, datatype=1), seq=1))
    again = restarted(host)
    assert is_stored(send(again, 77)[0])
    assert again.take(DDATA, data(metric(255, "int_value", alias=8), seq=78)).numbers[0][1:5:3] == (b"rain", -1.0)
    assert again.births.gaps == 0
    assert again.wants() == [b"G/E"]
    assert again.births.known(0, b"G/E")["metrics"] == host.births.known(0, b"G/E")["metrics"]


def test_the_dead_stay_dead_after_a_restart(host):
    host.take(NDEATH, death(0))
    assert send(restarted(host), 1)[0].numbers[0][5] == "unknown_alias"


def test_a_death_of_the_connection_before_is_still_known_after_a_restart(host):
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), bd=6))
    again = restarted(host)
    again.take(NDEATH, death(5))
    assert again.births.born_nodes == 1
    again.take(NDEATH, death(6))
    assert again.births.born_nodes == 0


def test_a_snapshot_says_what_all_records_said(host):
    for number in range(5):
        host.take(b"spBv1.0/G/DBIRTH/E/%d" % number, payload(metric(1.0, **LEVEL), seq=number))
    host.take(b"spBv1.0/G/DDEATH/E/3", payload(seq=6))
    journal = host.births.journal.copy()
    snapshot = host.births.snapshot()
    first, second = restarted(host, b"".join(journal)), restarted(host, snapshot)
    for number in range(5):
        key = b"G/E/%d" % number
        assert (first.births.known(0, key) or {}).get("metrics", []) == (second.births.known(0, key) or {}).get(
            "metrics", []
        )
    assert (first.births.born_nodes, first.births.born_devices) == (1, 4)
    assert host.births.journal == []


def test_damaged_records_are_passed_over_and_counted(host):
    host.take(b"spBv1.0/G/NBIRTH/F", birth(metric(1.0, **LEVEL)))
    host.take(b"spBv1.0/G/NBIRTH/H", birth(metric(1.0, **LEVEL)))
    records = host.births.journal
    assert len(records) == 3
    spoilt = bytearray(records[1])
    spoilt[20] ^= 1
    births = Births()
    assert births.load(records[0] + bytes(spoilt) + records[2] + records[2][:30]) == 2
    assert (births.born_nodes, births.damaged) == (2, 2)


def test_every_cut_and_every_flipped_byte_of_the_file_is_survived(host):
    host.take(DBIRTH, payload(metric(1.0, **LEVEL), seq=1))
    whole = host.births.take_journal()
    for size in range(len(whole)):
        Births().load(whole[:size])
        flipped = bytearray(whole)
        flipped[size] ^= 0xFF
        assert Births().load(bytes(flipped)) <= 2


def test_a_journal_that_nobody_takes_becomes_a_snapshot(host):
    many = birth(*(metric(1.0, name=f"metric-{number:04}" * 50, alias=number, datatype=10) for number in range(2000)))
    for _ in range(20):
        host.take(NBIRTH, many)
    assert host.births.needs_snapshot
    assert host.births.take_journal() == b""
    again = restarted(host, host.births.snapshot())
    assert len(again.births.known(0, b"G/E")["metrics"]) == 2001


# --- any order


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 255), st.lists(st.integers(0, 9), min_size=1, max_size=120))
def test_messages_that_come_late_in_any_order_leave_no_gap(first, delays):
    """Each message is overtaken by fewer than ten others."""
    host = DecodingHost()
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), seq=first))
    order = sorted(range(len(delays)), key=lambda at: (at + delays[at], at))
    outcomes = send(host, *((first + 1 + at) % 256 for at in order))
    assert all(map(is_stored, outcomes))
    assert host.wants(LATER_MS) == []
    assert host.births.known(0, b"G/E")["missing"] == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 255), st.integers(1, 239), st.integers(1, 30))
def test_what_never_comes_leads_to_one_rebirth(first, lost, after):
    host = DecodingHost()
    host.take(NBIRTH, birth(metric(1.0, **LEVEL), seq=first))
    send(host, *((first + 1 + lost + at) % 256 for at in range(after)))
    assert host.births.missing == lost
    assert host.wants(LATER_MS) == [b"G/E"]
    assert host.wants(LATER_MS + 600_000) == []
