"""Power loss by software: what was not synced is gone, what was is there; who promises too early is caught."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.ledger_file import read_ledger
from ingest.transport.broker_plan import Remembered
from loadtest.fault.power import journal
from loadtest.fault.power.loss import PowerFolder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def power(tmp_path):
    return PowerFolder(tmp_path / "data", tmp_path / "scratch")


def run(power: PowerFolder, script: str) -> list[str]:
    """Run Python that ends by killing itself; what it printed is what it promised."""
    done = subprocess.run(
        [sys.executable, "-c", f"import os, signal, sqlite3, sys\n{script}\nos.kill(os.getpid(), signal.SIGKILL)"],
        env={**os.environ, **power.environment},
        cwd=power.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -9, done.stderr
    return done.stdout.splitlines()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SYNC_FOLDER = "def sync(path='.'):\n f = os.open(path, os.O_RDONLY); os.fsync(f); os.close(f)\n"


def test_what_was_not_synced_is_gone(power):
    run(power, "f = open('a', 'wb', 0); f.write(b'one')")
    assert files(power.folder) == {"a": b"one"}
    power.lose(None)
    assert files(power.folder) == {}


def test_data_is_durable_by_its_own_sync_and_the_name_by_its_folders(power):
    run(
        power,
        SYNC_FOLDER
        + "f = open('named', 'wb', 0); sync(); f.write(b'lost')\n"
        + "g = open('whole', 'wb', 0); g.write(b'kept'); os.fdatasync(g.fileno()); sync(); g.write(b', lost')\n"
        + "h = open('nameless', 'wb', 0); h.write(b'x'); os.fsync(h.fileno())",
    )
    power.lose(None)
    assert files(power.folder) == {"named": b"", "whole": b"kept"}


def test_a_rename_is_whole_or_not_there(power):
    (power.folder / "counter").write_bytes(b"1")
    power = PowerFolder(power.folder, power.folder.parent / "again")
    replace = "f = open('draft', 'wb', 0); f.write(b'2'); os.fsync(f.fileno()); os.replace('draft', 'counter')\n"
    run(power, replace)
    power.lose(None)
    assert files(power.folder) == {"counter": b"1"}
    run(power, SYNC_FOLDER + replace + "sync()")
    power.lose(None)
    assert files(power.folder) == {"counter": b"2"}


def test_a_run_that_lost_its_power_is_not_taken_for_one_that_was_stopped(power):
    keep = f"sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
    keep += "from ingest.ledger_file import LedgerFile, Run\n"
    keep += "LedgerFile(Path('ledger.json'), None).keep(Run('', '', 1, STATE, {}, {}, [], []))\n"
    for state in ("stopped", "running"):
        run(power, keep.replace("STATE", repr(state)))
        power.lose(None)
        found = read_ledger(power.folder / "ledger.json")
        assert found is not None
        assert found.run.state == state


def test_filters_of_a_broker_s_session_outlive_a_loss_of_power(power):
    keep = f"sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
    keep += "from ingest.transport.broker_plan import Remembered\n"
    keep += "remembered = Remembered(Path('filters.json'))\n"
    keep += "for number in (0, 1): remembered.keep(f'node-{number}', ('city/#', 'old/+'))"
    run(power, keep)
    power.lose(None)
    found = Remembered(power.folder / "filters.json")
    assert [found.stale(f"node-{number}", ("city/#",)) for number in (0, 1)] == [[b"old/+"]] * 2


def test_a_rename_of_unsynced_data_leaves_an_empty_file(power):
    run(power, SYNC_FOLDER + "f = open('draft', 'wb', 0); f.write(b'2'); os.replace('draft', 'counter'); sync()")
    power.lose(None)
    assert files(power.folder) == {"counter": b""}


def test_folders_need_their_own_names_durable(power):
    run(
        power,
        SYNC_FOLDER
        + "os.makedirs('a/b'); f = open('a/b/file', 'wb', 0); f.write(b'1'); os.fsync(f.fileno())\n"
        + "sync('a/b'); sync('a')\n"
        + "os.makedirs('c/d'); f = open('c/d/file', 'wb', 0); f.write(b'1'); os.fsync(f.fileno())\n"
        + "sync('c/d'); sync('c')\n"
        + "os.mkdir('e'); sync(); os.rmdir('e'); os.rename('a', 'z'); os.rename('c', 'y')\n",
    )
    power.lose(None)
    assert files(power.folder) == {"a/b/file": b"1", "c/d/file": b"1"}
    assert (power.folder / "e").is_dir()


def test_a_journal_makes_names_durable_by_any_sync_after_them(tmp_path):
    power = PowerFolder(tmp_path / "data", tmp_path / "scratch", has_journal=True)
    run(
        power,
        "os.mkdir('a'); f = open('a/file', 'wb', 0); f.write(b'1'); os.fsync(f.fileno()); os.rename('a', 'b')\n"
        "g = open('b/other', 'wb', 0); os.fsync(f.fileno()); h = open('late', 'wb')",
    )
    power.lose(None)
    assert files(power.folder) == {"b/file": b"1", "b/other": b""}


def test_truncation_removal_and_links_wait_for_their_sync(power):
    for name in ("cut", "kept", "removed"):
        (power.folder / name).write_bytes(b"0123456789")
    power = PowerFolder(power.folder, power.folder.parent / "again")
    run(
        power,
        SYNC_FOLDER
        + "f = open('cut', 'r+b', 0); f.truncate(4); os.fsync(f.fileno())\n"
        + "g = open('kept', 'r+b', 0); g.truncate(4); os.link('kept', 'linked')\n"
        + "os.unlink('removed'); sync(); os.unlink('linked')",
    )
    power.lose(None)
    assert files(power.folder) == {"cut": b"0123", "kept": b"0123456789", "linked": b"0123456789"}


def test_every_way_of_writing_is_seen(power):
    (power.folder / "source").write_bytes(b"S" * 100_000)
    power = PowerFolder(power.folder, power.folder.parent / "again")
    run(
        power,
        SYNC_FOLDER
        + "f = os.open('f', os.O_RDWR | os.O_CREAT); os.write(f, b'write'); os.writev(f, [b'v1', b'v2'])\n"
        + "os.pwrite(f, b'P', 0); os.pwritev(f, [b'Q', b'R'], 1); os.posix_fallocate(f, 0, 20)\n"
        + "g = os.dup(f); os.write(g, b'!')\n"
        + "s = os.open('source', os.O_RDONLY); os.lseek(f, 20, 0); os.sendfile(f, s, 0, 70000)\n"
        + "os.copy_file_range(s, f, 10, offset_dst=80000); os.fsync(f)\n"
        + "a = os.open('appended', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        + "os.write(a, b'1'); os.write(a, b'2'); os.fsync(a)\n"
        + "d = os.open('direct', os.O_WRONLY | os.O_CREAT | os.O_DSYNC); os.write(d, b'at once'); sync()",
    )
    before = files(power.folder)
    assert before["f"][:20] == b"PQRtev1v2!" + bytes(10)
    power.lose(None)
    assert files(power.folder) == before


def test_children_of_a_process_are_seen_too(power):
    run(
        power,
        SYNC_FOLDER
        + 'import subprocess\nsubprocess.run([sys.executable, \'-c\', \'import os; f = open("c", "wb", 0); '
        + 'f.write(b"child"); os.fsync(f.fileno())\'], check=True); sync()\n'
        + "if os.fork() == 0:\n f = open('f', 'wb', 0); f.write(b'forked'); os.fsync(f.fileno()); os._exit(0)\n"
        + "os.wait(); sync()",
    )
    power.lose(None)
    assert files(power.folder) == {"c": b"child", "f": b"forked"}


def test_a_committed_transaction_of_sqlite_survives(power):
    promised = run(
        power,
        "db = sqlite3.connect('db', isolation_level=None); db.execute('PRAGMA journal_mode = WAL')\n"
        "db.execute('PRAGMA synchronous = FULL'); db.execute('CREATE TABLE t (x INTEGER)')\n"
        "db.execute('PRAGMA wal_autocheckpoint = 20')\n"
        "for x in range(200): db.execute('INSERT INTO t VALUES (?)', [x]); print(x, flush=True)",
    )
    assert len(promised) == 200
    for record in journal.read(power.journal):
        power.disk.apply(record)
    for seed in range(20):
        left = power.folder.parent / f"left-{seed}"
        power.disk.write_to(left, random.Random(seed) if seed else None)
        with sqlite3.connect(left / "db") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert [row for (row,) in db.execute("SELECT x FROM t ORDER BY x")] == list(range(200))


def test_a_program_that_promises_before_the_sync_is_caught(power):
    script = (
        SYNC_FOLDER + "f = open('log', 'wb', 0); sync()\n"
        "for x in range(100):\n f.write(x.to_bytes(512, 'big')); print(x, flush=True)\n {}\n"
    )
    assert len(run(power, script.format("if x % 10 == 0: os.fdatasync(f.fileno())"))) == 100
    power.lose(None)
    assert len(files(power.folder)["log"]) == 91 * 512
    (power.folder / "log").unlink()
    assert len(run(power, script.format("os.fdatasync(f.fileno())"))) == 100
    power.lose(random.Random(1))
    assert len(files(power.folder)["log"]) == 100 * 512


def test_what_was_on_its_way_survives_in_part_and_by_seed(power):
    run(
        power,
        SYNC_FOLDER + "f = open('log', 'wb', 0); sync(); os.fsync(f.fileno())\n"
        "for x in range(64): f.write(bytes([x]) * 1024)\n"
        "for x in range(9): open(f'file-{x}', 'wb').close()",
    )
    for record in journal.read(power.journal):
        power.disk.apply(record)
    outcomes = []
    for seed in range(40):
        for attempt in range(2):
            power.disk.write_to(power.folder.parent / f"{seed}-{attempt}", random.Random(seed))
        left = files(power.folder.parent / f"{seed}-0")
        assert left == files(power.folder.parent / f"{seed}-1")
        assert set(left) == {"log", *(f"file-{number}" for number in range(len(left) - 1))}, "names come in their order"
        outcomes.append(left["log"])
    whole = b"".join(bytes([x]) * 1024 for x in range(64))
    assert {b"", whole} < set(outcomes)
    torn = [one for one in outcomes if one not in (b"", whole)]
    assert any(one == whole[: len(one)] for one in torn)
    assert any(one != whole[: len(one)] for one in torn)
