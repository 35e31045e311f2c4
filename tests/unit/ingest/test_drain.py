"""The drain rule: while the store catches up, intake gets half of what it takes; while it is away, nothing is held."""

from collections import deque

import pytest

from ingest.settings import Watermarks
from ingest.transport.drain import Drain
from ingest.transport.gate import Gate

MB = 1_000_000
LOOK_S = 0.02


GROWTH = 4  # a byte of frames becomes so many in the spool
LAG = 5  # looks between a frame's coming and its being in the spool


class Plant:
    """Gate and drain between senders, a spool that is a little late, and a store with a rate, on a clock of its own."""

    def __init__(self, offered_bytes_per_s, store_bytes_per_s, insert_bytes=5 * MB):
        """Rates in bytes in the spool."""
        self.now_s = 0.0
        self.offered = offered_bytes_per_s
        self.store = store_bytes_per_s
        self.insert_bytes = insert_bytes
        self.appended = self.taken = 0
        self.done = 0.0  # of the insert that is under way
        self.is_away = False
        self.frames = deque([0] * LAG)
        self.gate = Gate(1000 * MB)
        self.drain = Drain(Watermarks(), lambda: self.now_s)

    @property
    def backlog(self):
        return self.appended - self.taken

    def run(self, seconds):
        for _ in range(round(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self.frames.append(round(self.offered * LOOK_S / GROWTH) if self.gate.is_open else 0)
            self.gate.take(self.frames[-1])
            came = self.frames.popleft()
            self.appended += came * GROWTH
            self.gate.give_back(came)
            if not self.is_away:
                self.done += self.store * LOOK_S
                while self.done >= self.insert_bytes and self.backlog >= self.insert_bytes:
                    self.done -= self.insert_bytes
                    self.taken += self.insert_bytes
                self.done = min(self.done, self.insert_bytes)
            self.gate.disk(self.backlog, 1_000_000 * MB, self.appended)
            self.gate.drain(*self.drain.look(self.taken, self.backlog, is_away=self.is_away))


def test_without_a_backlog_nothing_is_held():
    plant = Plant(offered_bytes_per_s=40 * MB, store_bytes_per_s=100 * MB)
    plant.run(20)
    assert plant.gate.is_open
    assert plant.appended == pytest.approx(20 * 40 * MB, rel=0.01)


def test_while_the_store_is_away_the_spool_takes_all():
    plant = Plant(offered_bytes_per_s=40 * MB, store_bytes_per_s=100 * MB)
    plant.run(3)
    plant.is_away = True
    plant.run(60)
    assert plant.appended == pytest.approx(63 * 40 * MB, rel=0.01)


@pytest.mark.parametrize("insert_mb", [1, 20, 100])
def test_a_backlog_drains_at_twice_the_rate_of_intake_and_then_all_is_let_in_again(insert_mb):
    plant = Plant(offered_bytes_per_s=90 * MB, store_bytes_per_s=100 * MB, insert_bytes=insert_mb * MB)
    plant.is_away = True
    plant.run(30)
    plant.is_away = False
    plant.run(6)
    assert plant.drain.is_on
    appended, taken = plant.appended, plant.taken
    plant.run(20)
    assert plant.drain.is_on
    assert plant.taken - taken >= 1.9 * (plant.appended - appended) > 0
    plant.run(60)
    assert plant.backlog < 5.5 * 100 * MB
    assert plant.drain.store_bytes_per_s == pytest.approx(95 * MB, rel=0.3)


def test_a_slow_store_with_few_large_inserts_is_followed_too():
    plant = Plant(offered_bytes_per_s=90 * MB, store_bytes_per_s=10 * MB, insert_bytes=60 * MB)
    plant.run(31)
    assert plant.drain.is_on
    appended, taken = plant.appended, plant.taken
    plant.run(48)
    assert plant.drain.is_on
    assert plant.taken - taken >= 1.9 * (plant.appended - appended) > 0


def test_a_store_that_stops_taking_ends_the_drain():
    plant = Plant(offered_bytes_per_s=90 * MB, store_bytes_per_s=10 * MB)
    plant.run(20)
    assert plant.drain.is_on
    plant.store = 0
    plant.run(11)
    assert not plant.drain.is_on
    assert plant.gate.is_open


def test_a_part_of_1_holds_nothing():
    drain = Drain(Watermarks(drain_part=1.0), iter(range(1000)).__next__)
    for second in range(20):
        assert drain.look(second * 10 * MB, second * 990 * MB, is_away=False) == (0, 0)
