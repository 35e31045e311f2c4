"""Fill a store with a large city: `python -m loadtest.fill --data FOLDER --readings 1000000000`.

The readings are made inside the engine, device after device as they lie when merged, then `cityfleet store` computes
what follows from them. On a folder that is filled already it adds what came since, so that "now" is now.
"""

import argparse
import json
import os
import shutil
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
from loadtest.fill.stage import Stage, end_in_order, running_store

# Nobody else is there while it is filled. Windows are computed when all is in, or they would be again and again.
_FILLING = "store.rollup.enabled = false"
_ROLLUPS = "store.rollup.every_s = 1.0\nstore.rollup.threads = 2\nstore.rollup.late_s = 0.0"
_WORKERS = 2
# Without a number: what a bench of an hour on a laptop can bear. A billion is asked for by its number.
_USUAL = 10_000_000
_DEVICES = 100_000
# Of a reading with all that follows from it, merges in between included; CPU-s of insert and rollups.
_BYTES = 14
_ROOM = 1_000_000_000
_CPU_S = 3.5e-6
_LOOK_S = 3.0
# What came since is added when it is more than so much.
_BEHIND_S = 120
# The longest window is a day.
_OPEN_S = 26 * 3600
_BLOCK_DEVICES = 256
_BY_DEVICES = ("quality", "readings_10min", "readings_1h")


class Plan(NamedTuple):
    """What a folder is filled with; kept beside it, for another city would not fit in."""

    readings: int
    devices: int
    days: float

    def groups(self) -> list[Group]:
        return groups(*self)


class Span(msgspec.Struct):
    """Event times that are being filled, all before `until_s` if `from_s` is 0, and which slices are in."""

    plan: Plan
    from_s: int
    until_s: int
    done: set[int] = msgspec.field(default_factory=set)


def fill(stage: Stage, plan: Plan, until_s: int, from_s: int = 0, kept: Path | None = None) -> int:
    """Insert readings up to `until_s`, those from `from_s` on or all, and what is the newest. Returns how many.

    Args:
        kept: a file that says which slices are in; they are passed by.
    """
    span = Span(plan, from_s, until_s)
    if kept is not None and kept.exists():
        span = msgspec.json.decode(kept.read_bytes(), type=Span)
    made = plan.groups()
    parts = list(slices(made, until_s, from_s))
    admin = stage.connect()
    count = "SELECT sum(rows) FROM system.parts WHERE active AND database = 'cityfleet' AND table = 'readings'"
    before = int(admin.ask(count))
    if not from_s:
        for sql in statements.dimensions(made, int(time.time() * 1000)):
            admin.ask(sql)
    _insert(stage, parts, span, kept)
    for group in made:
        admin.ask(statements.latest(group, until_s), statements.SETTINGS)
    if not from_s:
        admin.ask(statements.flags(plan.devices), {"max_partitions_per_insert_block": 0})
    after = int(admin.ask(count))
    admin.close()
    return after - before


def _insert(stage: Stage, parts: Sequence[Slice], span: Span, kept: Path | None) -> None:
    """Each of two connections takes the next slice, for the two cores."""
    waiting = iter([(number, part) for number, part in enumerate(parts) if number not in span.done])
    lock = threading.Lock()
    failures: list[Exception] = []
    columns = (
        TextColumn("readings"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=len(parts) < 20) as bar:
        task = bar.add_task("readings", total=len(parts), completed=len(span.done))

        def work() -> None:
            connection = stage.connect()
            try:
                while not failures:
                    with lock:
                        following = next(waiting, None)
                    if following is None:
                        return
                    number, part = following
                    connection.ask(statements.readings(part), statements.SETTINGS)
                    with lock:
                        span.done.add(number)
                        if kept is not None:
                            _replace(kept, msgspec.json.encode(span))
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
            began_s = time.monotonic()
            steps = json.loads(stage.cli("store", "rollup", "status", "-o", "json"))
            left, done = sum(step["due"] for step in steps), sum(step["done"] for step in steps)
            bar.update(task, completed=done, total=done + left, left=f"{left:,}")
            looks = looks + 1 if done and is_open_only(steps, devices, time.time()) else 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"{left:,} windows were not computed in {limit_s:,.0f} s")
            # A look goes through all that was noted: that is not what the cores are for.
            time.sleep(max(_LOOK_S, 10 * (time.monotonic() - began_s)))


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
    """Fill the folder, go on where it was broken off, or add what came since; then have the rollups computed.

    Prints what it took. Raises: ValueError if the folder is filled with another city.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, kept = folder / "filled.json", folder / "filling.json"
    until_s = 0
    if state.exists():
        *known, until_s = json.loads(state.read_text())
        if tuple(known) != tuple(plan):
            raise ValueError(f"{folder} is filled with {known}, not {list(plan)}")
    with running_store(folder, _FILLING) as stage:
        while (now_s := int(time.time())) - until_s > _BEHIND_S:
            span = Span(plan, until_s, now_s)
            if kept.exists():
                span = msgspec.json.decode(kept.read_bytes(), type=Span)
                if span.plan != plan:
                    raise ValueError(f"{folder} is being filled with {list(span.plan)}, not {list(plan)}")
            began_s, used_s = time.monotonic(), cpu_s(stage.pid)
            count = fill(stage, plan, span.until_s, span.from_s, kept)
            until_s = span.until_s
            _replace(state, msgspec.json.encode([*plan, until_s]))
            kept.unlink(missing_ok=True)
            took_s, used_s = time.monotonic() - began_s, cpu_s(stage.pid) - used_s
            each_us = used_s / max(count, 1) * 1e6
            print(f"{count:,} readings in {took_s:,.0f} s, {each_us:.2f} CPU-us each", file=sys.stderr)
    with running_store(folder, _ROLLUPS) as stage:
        began_s = time.monotonic()
        wait_for_rollups(stage, plan.devices, limit_s)
        print(f"rollups after {time.monotonic() - began_s:,.0f} s more", file=sys.stderr)
        # Days came in minutes; where they come by the day the engine has put them together an hour later.
        admin = stage.connect()
        admin.ask("OPTIMIZE TABLE cityfleet.readings_1d FINAL")
        # So have months of this size that ended ten days ago: of parts that are older it merges fewer at once.
        ended = (
            "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = 'cityfleet' "
            "AND table = 'readings' AND toUInt32(partition_id) < toYYYYMM(now() - INTERVAL 10 DAY)"
        )
        for month in admin.ask(ended).split():
            admin.ask(f"OPTIMIZE TABLE cityfleet.readings PARTITION ID '{month}' FINAL")
        admin.close()


def _replace(path: Path, text: bytes) -> None:
    draft = path.with_suffix(".new")
    draft.write_bytes(text)
    draft.replace(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `Plan` holds. `make bench READINGS=N` tells the number by the environment."""
    parser.add_argument(
        "--readings", type=int, default=int(os.environ.get("READINGS") or 0),
        help=f"default: what the folder is filled with, else {_USUAL:,}",
    )  # fmt: skip
    parser.add_argument("--devices", type=int, default=0, help=f"default: {_DEVICES:,}, fewer for a small fill")
    parser.add_argument("--days", type=float, default=5.0, help="that most devices go back; river gauges: a month")
    parser.add_argument("--limit", type=float, default=14_400.0, help="seconds that the rollups may take")


def plan_of(options: argparse.Namespace, folder: Path) -> Plan:
    """What is asked for, or what the folder holds already. Says what will be done.

    Raises: ValueError if the disk has no room for it.
    """
    state, kept = folder / "filled.json", folder / "filling.json"
    if not options.readings and state.exists():
        readings, devices, days, _ = json.loads(state.read_text())
        return Plan(readings, devices, days)
    if not options.readings and kept.exists():
        return msgspec.json.decode(kept.read_bytes(), type=Span).plan
    readings = options.readings or _USUAL
    # A thousand readings of each at least: half a day, and a month of the river gauges.
    devices = options.devices or max(1000, min(_DEVICES, readings // 1000))
    plan = Plan(readings, devices, options.days)
    if not state.exists() and not kept.exists():
        needed = plan.readings * _BYTES + _ROOM
        place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        free = shutil.disk_usage(place).free
        minutes = max(1, round(plan.readings * _CPU_S / _WORKERS / 60))
        print(
            f"filling {folder} with {plan.readings:,} readings of {plan.devices:,} devices: "
            f"about {needed / 1e9:.0f} GB of {free / 1e9:.0f} GB free, {minutes} minutes of two cores",
            file=sys.stderr,
        )
        if free < needed:
            raise ValueError(
                f"{needed / 1e9:.0f} GB are needed, {place} has {free / 1e9:.0f}: ask for fewer --readings"
            )
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(prog="loadtest.fill", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that is kept, and taken up again")
    add_arguments(parser)
    options = parser.parse_args()
    end_in_order()
    try:
        plan = plan_of(options, options.data)
    except ValueError as exc:
        parser.error(str(exc))
    bring_up_to_now(options.data, plan, options.limit)
    with running_store(options.data) as stage:
        size, rows = stored_bytes(stage)
        say(figure("ioc_stored_bytes", [size / rows], "", None, less_is_better=True, rows=rows))


if __name__ == "__main__":
    main()
