"""The ledger's file: it is always whole, and the next start holds it against what is in the spool."""

from pathlib import Path

import msgspec
import pytest

from ingest.ledger import Ledger, StageCounts
from ingest.ledger_file import LedgerFile, read_ledger
from ingest.metrics import SpoolState, WriteState
from ingest.model import SealedBatch, Segment

READINGS = (5, 2, 3)
BATCH = SealedBatch((b"", b"", b""), (5, 1, 3), READINGS, lambda: None)
SEGMENT = Segment("s", Path("s"), 1, (5, 1, 3), READINGS)

COUNTS = StageCounts(
    taken=1, rejected={}, handed_on=1, frames_waiting=0, frames_decoded=1, decoded=10, refused_by_decode={},
    resolve_in=10, resolved=10, refused={}, in_columns=0, sealed=10, sealed_waiting=0, closed_waiting=10,
)  # fmt: skip


def file_of(path: Path, *, in_spool: bool = False) -> LedgerFile:
    """Of a run that took ten readings, which are in the spool or stored or on the way between."""
    spool, write = SpoolState(), WriteState()
    counts = COUNTS if in_spool else msgspec.structs.replace(COUNTS, closed_waiting=0)
    spool.took(BATCH)
    spool.appended(BATCH)
    spool.closed(SEGMENT)
    if not in_spool:
        write.took(SEGMENT)
        write.written(SEGMENT)
    return LedgerFile(path, Ledger(lambda: counts, spool, write))


def kept(path: Path, state: str = "stopped", **what: bool) -> None:
    file = file_of(path, **what)
    file.keep(file.now(state))  # type: ignore[arg-type]


def test_it_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path, in_spool=True)
    found = read_ledger(path)
    assert found is not None
    assert found.run.entries["in_spool"] == 10
    assert found.run.state == "stopped"
    assert [one.stage for one in found.run.stages] == ["transport", "decode", "resolve", "batch", "spool", "write"]
    assert not list(tmp_path.glob("*.draft"))


def test_what_was_left_and_is_found_fits(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path, in_spool=True)
    assert file_of(path).begin(recovered=10) == []


def test_readings_that_left_the_spool_between_two_runs_are_missed(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path, in_spool=True)
    file = file_of(path)
    (fault,) = file.begin(recovered=7)
    assert (fault.stage, fault.missing) == ("spool", 3)
    assert fault.text == "the run before left 10 readings in the spool, 7 were found there"
    assert file.now().breaks == [fault]


def test_damage_is_named_as_such(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path, in_spool=True)
    (fault,) = file_of(path).begin(recovered=7, damaged=3)
    assert fault.missing == 3
    assert fault.text.endswith("3 are damaged")


def test_more_than_was_left_is_told_too(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path)
    (fault,) = file_of(path).begin(recovered=10)
    assert fault.missing == -10


def test_damage_is_told_also_after_a_run_that_was_killed(tmp_path):
    path = tmp_path / "ledger.json"
    kept(path, "running", in_spool=True)
    (fault,) = file_of(path).begin(recovered=7, damaged=3)
    assert fault.text == "there were at least 10 readings in the spool, 7 were found there, 3 are damaged"


def test_what_memory_mode_loses_at_the_end_is_a_break(tmp_path):
    spool = SpoolState()
    spool.readings[0] = spool.taken = spool.closed_readings = 10
    spool.lost = 4
    ledger = Ledger(lambda: COUNTS, spool, WriteState())
    file = LedgerFile(tmp_path / "ledger.json", ledger)
    (fault,) = file.now("stopped").breaks
    assert (fault.stage, fault.missing) == ("spool", 4)
    entries = ledger.now().entries
    assert (entries["lost"], entries["in_spool"]) == (4, 6)
    assert entries["received"] == sum(list(entries.values())[2:])


@pytest.mark.parametrize("state", ["running", "failed"])
def test_nothing_is_said_of_a_run_that_did_not_stop_in_order(tmp_path, state):
    path = tmp_path / "ledger.json"
    kept(path, state, in_spool=True)
    assert file_of(path).begin(recovered=3) == []


@pytest.mark.parametrize("data", [b"", b"{", b'{"version": 9}', b"\0" * 4096, b"[]"])
def test_a_file_that_is_none_is_ignored(tmp_path, data):
    path = tmp_path / "ledger.json"
    path.write_bytes(data)
    file = file_of(path)
    assert file.begin(recovered=3) == []
    file.keep(file.now())
    assert read_ledger(path) is not None


def test_the_last_ten_runs_are_remembered_and_no_more(tmp_path):
    path = tmp_path / "ledger.json"
    for _ in range(14):
        file = file_of(path)
        file.begin(recovered=0)
        file.keep(file.now("stopped"))
    found = read_ledger(path)
    assert found is not None
    assert len(found.before) == 10
    assert found.before[0].at <= found.run.at


def test_spools_of_workers_that_are_no_more_count_and_their_ledgers_go(tmp_path):
    own, other = tmp_path / "ledger.json", tmp_path / "ledger-1.json"
    kept(own, in_spool=True)
    kept(other, in_spool=True)
    assert file_of(own).begin(recovered=20, left_over=[other]) == []
    assert not other.exists()


def test_a_disk_that_refuses_does_not_stop_ingest(tmp_path):
    file = file_of(tmp_path / "nowhere" / "ledger.json")
    file.keep(file.now())
    assert not (tmp_path / "nowhere").exists()
