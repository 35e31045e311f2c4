"""Fill a store with a large city: `python -m loadtest.fill --data FOLDER --readings 1000000000`.

The readings are made inside the engine, device after device as they lie when merged, then `cityfleet store` computes
what follows from them. On a folder that is filled already it adds what came since, so that "now" is now.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from loadtest.bench.processes import cpu_s
from loadtest.bench.result import figure, say
from loadtest.fill import statements
from loadtest.fill.plan import Group, Slice, groups, slices
from loadtest.fill.stage import Stage, running_store

# Nobody else is there while it is filled.
CONFIG = "store.rollup.every_s = 1.0\nstore.rollup.threads = 2\nstore.rollup.late_s = 0.0"
_WORKERS = 2
_LOOK_S = 3.0
# The longest window is a day.
_OPEN_S = 26 * 3600
_BLOCK_DEVICES = 256
_BY_DEVICES = ("10_quality", "20_readings_10min", "30_readings_1h")


class Plan(NamedTuple):
    """What a folder is filled with; kept beside it, for another city would not fit in."""

    readings: int
    devices: int
    days: float

    def groups(self) -> list[Group]:
        return groups(*self)


def fill(stage: Stage, plan: Plan, until_s: int, from_s: int = 0) -> int:
    """Insert readings up to `until_s`, those from `from_s` on or all, and what is the newest. Returns how many."""
    made = plan.groups()
    parts = list(slices(made, until_s, from_s))
    admin = stage.connect()
    count = "SELECT sum(rows) FROM system.parts WHERE active AND database = 'cityfleet' AND table = 'readings'"
    before = int(admin.ask(count))
    if not from_s:
        for sql in statements.dimensions(made, int(time.time() * 1000)):
            admin.ask(sql)
    _insert(stage, parts)
    for group in made:
        admin.ask(statements.latest(group, until_s), statements.SETTINGS)
    after = int(admin.ask(count))
    admin.close()
    return after - before


def _insert(stage: Stage, parts: Sequence[Slice]) -> None:
    """Each of two connections takes the next slice, for the two cores."""
    waiting = iter(parts)
    lock = threading.Lock()
    failures: list[Exception] = []
    columns = (
        TextColumn("readings"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=len(parts) < 20) as bar:
        task = bar.add_task("readings", total=len(parts))

        def work() -> None:
            connection = stage.connect()
            try:
                while not failures:
                    with lock:
                        part = next(waiting, None)
                    if part is None:
                        return
                    connection.ask(statements.readings(part), statements.SETTINGS)
                    bar.advance(task)
            except (OSError, RuntimeError) as exc:
                failures.append(exc)
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(_WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def wait_for_rollups(stage: Stage, devices: int, limit_s: float) -> None:
    """Until all windows that are closed are computed. Raises: TimeoutError."""
    deadline = time.monotonic() + limit_s
    columns = (TextColumn("rollups"), BarColumn(), TextColumn("{task.fields[left]} windows left"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rollups", total=None, left="?")
        looks = 0
        # Twice: what follows from a window is due a moment after it is done.
        while looks < 2:
            steps = json.loads(stage.cli("store", "rollup", "status", "-o", "json"))
            left, done = sum(step["due"] for step in steps), sum(step["done"] for step in steps)
            bar.update(task, completed=done, total=done + left, left=f"{left:,}")
            looks = looks + 1 if done and is_open_only(steps, devices, time.time()) else 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"{left:,} windows were not computed in {limit_s:,.0f} s")
            time.sleep(_LOOK_S)


def is_open_only(steps: Sequence[dict[str, Any]], devices: int, now_s: float) -> bool:
    """Whether what is due is only what has not ended yet. Windows are computed from the newest to the oldest."""
    oldest = [datetime.fromisoformat(step["oldest_due"]).timestamp() for step in steps if step["oldest_due"]]
    # An open window of each block of devices, and one that has just closed.
    most = 2 * (devices // _BLOCK_DEVICES + 1)
    return min(oldest, default=now_s) > now_s - _OPEN_S and all(
        step["due"] <= most for step in steps if step["step"] in _BY_DEVICES
    )


def stored_bytes(stage: Stage, tables: Sequence[str] = ("readings",)) -> tuple[int, int]:
    """Bytes on disk and rows of the tables' parts."""
    connection = stage.connect()
    listed = ", ".join(f"'{table}'" for table in tables)
    answer = connection.ask(
        "SELECT sum(bytes_on_disk), sum(rows) FROM system.parts WHERE active AND database = 'cityfleet' "  # noqa: S608
        f"AND table IN ({listed})"
    )
    connection.close()
    size, rows = map(int, answer.split("\t"))
    return size, rows


def bring_up_to_now(folder: Path, plan: Plan, limit_s: float) -> None:
    """Fill the folder, or add what came since, and have the rollups computed. Prints what it took."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "filled.json"
    from_s = 0
    if state.exists():
        *known, until = json.loads(state.read_text())
        if tuple(known) != tuple(plan):
            raise ValueError(f"{folder} is filled with {known}, not {list(plan)}")
        from_s = int(until)
    now_s = int(time.time())
    with running_store(folder, CONFIG) as stage:
        began_s, used_s = time.monotonic(), cpu_s(stage.process.pid)
        count = fill(stage, plan, now_s, from_s)
        state.write_bytes(msgspec.json.encode([*plan, now_s]))
        took_s, used_s = time.monotonic() - began_s, cpu_s(stage.process.pid) - used_s
        print(f"{count:,} readings in {took_s:,.0f} s, {used_s / max(count, 1) * 1e6:.2f} CPU-us each", file=sys.stderr)
        began_s = time.monotonic()
        wait_for_rollups(stage, plan.devices, limit_s)
        print(f"rollups after {time.monotonic() - began_s:,.0f} s more", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `Plan` holds. `make bench READINGS=N` tells the number by the environment."""
    parser.add_argument("--readings", type=int, default=int(os.environ.get("READINGS") or 1_000_000_000))
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--days", type=float, default=5.0, help="that most devices go back; river gauges: a month")
    parser.add_argument("--limit", type=float, default=7200.0, help="seconds that the rollups may take")


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtest.fill", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder; 12 GB or so for a billion")
    add_arguments(parser)
    options = parser.parse_args()
    bring_up_to_now(options.data, Plan(options.readings, options.devices, options.days), options.limit)
    with running_store(options.data) as stage:
        size, rows = stored_bytes(stage)
        say(figure("ioc_stored_bytes", [size / rows], "", None, less_is_better=True, rows=rows))


if __name__ == "__main__":
    main()
