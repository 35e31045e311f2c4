"""A spool that stops after any system call, or loses power there, has what was acknowledged, once, under new names."""

import contextlib
import random

import pytest

from ingest.model import SealedBatch, Segment
from ingest.settings import SpoolSettings
from ingest.spool import numbers
from ingest.spool.bodies import SegmentReader
from ingest.spool.spool import Spool
from tests.support.crashing_disk import CrashError, CrashingDisk

SETTINGS = SpoolSettings(min_free_bytes=0)


@pytest.fixture(autouse=True)
def _counter_written_often(monkeypatch):
    monkeypatch.setattr(numbers, "_STEP", 2)


class Life:
    """What a store has and what senders were told, through any number of crashes."""

    def __init__(self) -> None:
        self.acknowledged: set[bytes] = set()
        self.stored: dict[str, list[bytes]] = {}  # by token
        self.sent = 0

    def run(self, spool: Spool, steps: int, chance: random.Random) -> None:
        """Take in, close, insert and remove, as ingest does."""
        waiting = []
        for segment in spool.recover():
            self.insert(segment)
            waiting.append(segment)
        for _ in range(steps):
            self.sent += 1
            payload = b"<%d>" % self.sent * chance.choice((1, 1, 300))
            spool.append(SealedBatch((payload, b"", b""), (1, 0, 0), (1, 0, 0), lambda: None))
            self.acknowledged.add(payload)
            if chance.random() < 0.5:
                segment = spool.close_segment()
                self.insert(segment)
                waiting.append(segment)
            if waiting and chance.random() < 0.7:
                waiting.pop(0).remove()

    def insert(self, segment: Segment) -> None:
        """Under its token: what comes again is dropped, and must not be more than came before."""
        payloads = [bytes(blocks[0]) for blocks in SegmentReader().windows(segment) if blocks[0]]
        before = self.stored.setdefault(segment.name, payloads)
        assert not set(payloads) & self.acknowledged - set(before) - self._elsewhere(segment.name)

    def _elsewhere(self, name: str) -> set[bytes]:
        return {payload for other, payloads in self.stored.items() if other != name for payload in payloads}

    def check(self, found: Spool) -> None:
        for segment in found.recover():
            self.insert(segment)
        everything = [payload for payloads in self.stored.values() for payload in payloads]
        assert self.acknowledged <= set(everything)
        # What was not acknowledged may be there too: its sender repeats it. Nothing else may.
        known = {b"<%d>" % number * times for number in range(1, self.sent + 1) for times in (1, 300)}
        assert set(everything) <= known
        assert len(everything) == len(set(everything))


def calls_of_a_run(tmp_path, monkeypatch) -> int:
    folder = tmp_path / "whole"
    folder.mkdir()
    with monkeypatch.context() as patch:
        disk = CrashingDisk(folder, patch)
        Life().run(Spool(folder, SETTINGS), 6, random.Random(1))
    return disk.calls


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power-lost"])
def test_after_a_stop_behind_any_call_nothing_acknowledged_is_missing(tmp_path, monkeypatch, power):
    calls = calls_of_a_run(tmp_path, monkeypatch)
    assert calls > 30
    for stop_at in range(calls):
        folder = tmp_path / str(stop_at)
        folder.mkdir()
        with monkeypatch.context() as patch:
            disk = CrashingDisk(folder, patch)
            life = Life()
            disk.stop_at = stop_at
            with pytest.raises(CrashError):
                life.run(Spool(folder, SETTINGS), 6, random.Random(1))
            disk.stop_at = -1
            if power:
                disk.lose_power(random.Random(stop_at))
            else:
                disk.restart()
            life.check(Spool(folder, SETTINGS))


@pytest.mark.parametrize("seed", range(30))
def test_many_stops_one_after_the_other_lose_nothing_and_use_no_name_twice(tmp_path, monkeypatch, seed):
    chance = random.Random(seed)
    disk = CrashingDisk(tmp_path, monkeypatch)
    life = Life()
    for _ in range(6):
        disk.stop_at = disk.calls + chance.randrange(60)
        with contextlib.suppress(CrashError):
            life.run(Spool(tmp_path, SETTINGS), 10, chance)
        if chance.random() < 0.7:
            disk.lose_power(chance)
        else:
            disk.restart()
    life.check(Spool(tmp_path, SETTINGS))
