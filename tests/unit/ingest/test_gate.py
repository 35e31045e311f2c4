"""The gate between sockets and store: which class of traffic is read at which fill."""

import asyncio

from ingest.settings import Watermarks
from ingest.transport.gate import Gate, Traffic

MARKS = Watermarks(broker=0.5, gateways=0.75, devices=1.0, refuse_after_s=10.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(gate):
    return [traffic.name.lower() for traffic in Traffic if gate.is_open_for(traffic)]


def test_it_closes_above_a_watermark_and_opens_at_half_of_it():
    events = []
    gate = Gate(250)
    gate.on_change(lambda: events.append("closed"), lambda: events.append("opened"), Traffic.DEVICES)
    gate.take(100)
    assert gate.is_open_for(Traffic.DEVICES)
    gate.take(1)
    assert not gate.is_open_for(Traffic.DEVICES)
    gate.give_back(50)
    assert not gate.is_open_for(Traffic.DEVICES)
    gate.give_back(1)
    assert gate.is_open_for(Traffic.DEVICES)
    assert events == ["closed", "opened"]


def test_the_least_urgent_traffic_waits_first_and_goes_on_last():
    gate = Gate(2500, MARKS)
    seen = []
    for size in (400, 200, 200, 300):
        gate.take(size)
        seen.append(opened(gate))
    assert seen == [["broker", "gateways", "devices"], ["gateways", "devices"], ["devices"], []]
    seen = []
    for size in (600, 130, 130):
        gate.give_back(size)
        seen.append(opened(gate))
    assert seen == [["devices"], ["gateways", "devices"], ["broker", "gateways", "devices"]]
    assert gate.shut_count == [1, 1, 1]


def test_the_backlog_on_disk_counts_by_the_same_fractions():
    gate = Gate(1000, MARKS)
    for backlog, readers in ((499, 3), (500, 2), (750, 1), (1000, 0), (960, 0), (949, 1), (700, 2), (480, 2), (470, 3)):
        gate.disk(backlog, 1000)
        assert len(opened(gate)) == readers, backlog
    assert gate.why_shut(Traffic.BROKER) == ""


def test_everything_in_memory_counts_and_work_takes_room_of_intake_only_above_its_part():
    gate = Gate(1000, MARKS)
    gate.take(100)
    gate.account("requests", 50)
    gate.account("requests", 40)
    assert (gate.held_bytes, opened(gate)) == (140, ["broker", "gateways", "devices"])
    gate.account_work("sealed", 200)
    gate.account_work("inserts", 400)
    assert (gate.held_bytes, opened(gate)) == (740, ["broker", "gateways", "devices"])
    assert gate.accounts == {"frames": 100, "requests": 40, "sealed": 200, "inserts": 400}
    gate.account_work("inserts", 600)
    assert opened(gate) == ["gateways", "devices"]
    gate.account_work("inserts", 100_000)
    gate.give_back(100)
    assert "devices" in opened(gate), "work alone does not stop a device"


def test_frames_in_memory_count_as_what_they_become_on_disk():
    gate = Gate(1_000_000, MARKS)
    appended = 0
    for _ in range(50):  # a byte of frames becomes ten in the spool
        gate.take(100)
        gate.give_back(100)
        appended += 1000
        gate.disk(0, 10_000, appended)
    gate.take(450)
    assert gate.is_open
    gate.take(60)
    assert opened(gate) == ["gateways", "devices"]
    assert gate.why_shut(Traffic.BROKER) == "disk"


def test_a_drain_lets_the_urgent_in_first():
    gate = Gate(1_000_000, MARKS)
    gate.drain(1000)
    seen = []
    for size in (400, 100, 250, 250, 1000):
        gate.take(size)
        gate.give_back(size)
        seen.append(len(opened(gate)))
    assert seen == [3, 3, 2, 1, 0]
    assert gate.why_shut(Traffic.DEVICES) == "drain"
    for earned, readers in ((1000, 0), (499, 0), (1, 1), (250, 2), (249, 2), (5000, 3)):
        gate.drain(1000, earned)
        assert len(opened(gate)) == readers, earned
    gate.take(2000)
    assert opened(gate) == []
    gate.drain(0)
    assert gate.is_open


def test_who_waits_for_long_is_refused_until_the_gate_opens():
    clock = Clock()
    gate = Gate(1000, MARKS, clock)
    gate.take(250)
    clock.now_s += 9.9
    assert not gate.refuses(Traffic.BROKER)
    clock.now_s += 0.1
    assert gate.refuses(Traffic.BROKER)
    assert not gate.refuses(Traffic.DEVICES)
    gate.give_back(250)
    assert not gate.refuses(Traffic.BROKER)


def test_each_reason_holds_it_shut_by_itself():
    gate = Gate(1000, MARKS)
    gate.shut(True, "disk full")
    gate.shut(True, "leaving")
    gate.shut(False, "disk full")
    assert gate.why_shut(Traffic.DEVICES) == "leaving"
    gate.shut(False, "leaving")
    assert gate.is_open


async def test_held_shut_it_stays_closed_however_empty():
    gate = Gate(100)
    gate.shut(True)
    waiter = asyncio.create_task(gate.wait_open(Traffic.DEVICES))
    gate.take(10)
    gate.give_back(10)
    await asyncio.sleep(0)
    assert not waiter.done()
    gate.shut(False)
    await waiter
