"""A store that nobody asks anything notices what changes, and runs no statement while nothing does; merges go last."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.app import Passing
from store.embedded.engine import Engine
from store.embedded.folders import Folders


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    running = Engine(tmp_path_factory.mktemp("idle") / "store", 1)
    running.ask("CREATE DATABASE cityfleet")
    for table in ("metrics", "wards"):
        running.ask(f"CREATE TABLE cityfleet.{table} (num UInt16, unit String) ENGINE = MergeTree ORDER BY num")
    yield running
    running.close()


def settled(folders: Folders) -> tuple[int, ...]:
    end = time.monotonic() + 60
    while (state := folders.state()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return state


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO cityfleet.metrics VALUES (1, 'm')",
        "INSERT INTO cityfleet.metrics VALUES (2, 'm')",
        "OPTIMIZE TABLE cityfleet.metrics FINAL",
        "ALTER TABLE cityfleet.metrics UPDATE unit = 'mm' WHERE num = 1 SETTINGS mutations_sync = 1",
        "TRUNCATE TABLE cityfleet.metrics",
    ],
    ids=["first-part", "second-part", "merge", "mutation", "none-left"],
)
def test_every_change_of_a_table_changes_its_state(engine: Engine, statement: str) -> None:
    watched, other = Folders(engine, ("metrics",)), Folders(engine, ("wards",))
    for paths in (watched._paths, other._paths):
        for path in paths:
            os.utime(path, (1, 1))
    before, of_other = settled(watched), settled(other)
    engine.ask(statement)
    assert watched.state() != before
    assert other.state() == of_other
    assert Folders(engine).state() is None


def test_a_change_just_now_is_not_taken_for_the_state_after_it(engine: Engine) -> None:
    watched = Folders(engine, ("metrics",))
    engine.ask("INSERT INTO cityfleet.metrics VALUES (3, 'm')")
    assert watched.state() is None


def test_no_table_is_never_at_rest(engine: Engine) -> None:
    assert Folders(engine, ("no_such_table",)).state() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="nice values need root")
def test_merges_go_behind_who_asks_and_writes(engine: Engine) -> None:
    engine.ask("CREATE TABLE cityfleet.merged (num UInt64) ENGINE = MergeTree ORDER BY num")
    found: set[int] = set()
    end = time.monotonic() + 60
    while 13 not in found:
        assert time.monotonic() < end, found
        engine.ask("INSERT INTO cityfleet.merged SELECT cityHash64(number) FROM numbers(1000000)")
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                if (thread / "comm").read_text() == "MergeMutate\n":
                    found.add(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
    engine.ask("DROP TABLE cityfleet.merged SYNC")


def test_what_passes_run_goes_behind_who_asks(engine: Engine) -> None:
    assert Passing(engine)("SELECT getSetting('os_thread_priority')") == "10"


def test_a_small_part_is_one_file(engine: Engine) -> None:
    engine.ask("INSERT INTO cityfleet.metrics VALUES (4, 'm')")
    path = engine.ask("SELECT path FROM system.parts WHERE active AND table = 'metrics' ORDER BY name DESC LIMIT 1")
    assert [file.name for file in Path(path).iterdir()] == ["data.packed"]
