"""How long the questions take on a large store: `python -m loadtest.bench.ioc --readings N [--data FOLDER]`.

Fills a store (loadtest.fill), starts it with its usual settings, and asks every question over HTTP as the reader and as
an account of one ward: first alone, then while 200,000 readings a second are inserted. Those are inserted as a ready
SELECT of the engine, in order as ingest gives them: what ingest itself costs beside the store is not in it. A figure is
the worst question's 95th percentile under that load, by reader or ward; `detail` has all.
"""

import argparse
import contextlib
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.bench.ioc_questions import CITY_HOUR, HISTORY, NOW, QUESTIONS, Question
from loadtest.bench.result import figure, say
from loadtest.fill import statements
from loadtest.fill.__main__ import Plan, add_arguments, bring_up_to_now, stored_bytes
from loadtest.fill.kinds import METRICS
from loadtest.fill.stage import Connection, Stage, running_store

# A ward may ask as fast as it can here; its other limits stand.
_CONFIG = "store.access.queries_per_minute = 100000\nstore.access.execution_s_per_minute = 100000.0"
_WARD = "00070"
_LOAD_ROWS = 500_000
# A question has its turn for so long, or for so many times it is asked.
_TURN_S = 4.0
_MOST = 20
_LEAST = 3


class Inserts(threading.Thread):
    """Readings of now, half a million at once, so many a second."""

    def __init__(self, stage: Stage, devices: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._connection = stage.connect()
        self._devices = devices
        self._per_device = max(1, _LOAD_ROWS // devices)
        self._every_s = devices * self._per_device / rate
        self._stopped = threading.Event()
        self.rows = 0
        self.late_s = 0.0
        self.failure: Exception | None = None

    def run(self) -> None:
        due_s = time.monotonic()
        token = 0
        try:
            while not self._stopped.wait(max(0.0, due_s - time.monotonic())):
                token += 1
                sql = statements.load(self._devices, self._per_device, time.time_ns() // 1_000_000, token)
                self._connection.ask(sql, {"max_threads": 1, "min_insert_block_size_rows": _LOAD_ROWS})
                self.rows += self._devices * self._per_device
                due_s += self._every_s
                self.late_s = max(self.late_s, time.monotonic() - due_s)
        except (OSError, RuntimeError) as exc:
            self.failure = exc

    def stop(self) -> None:
        self._stopped.set()
        self.join(60)
        self._connection.close()
        if self.failure is not None:
            raise self.failure


def p95(values: Sequence[float]) -> float:
    """Nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def time_all(connection: Connection, questions: Sequence[tuple[Question, str]]) -> dict[str, list[float]]:
    """Milliseconds of each question, over and over for a while; without those that could not be answered."""
    found: dict[str, list[float]] = {}
    for question, sql in questions:
        took: list[float] = []
        ends_s = time.monotonic() + _TURN_S
        try:
            connection.ask(sql)
            while len(took) < _LEAST or (len(took) < _MOST and time.monotonic() < ends_s):
                began_s = time.perf_counter()
                connection.ask(sql)
                took.append((time.perf_counter() - began_s) * 1000)
            found[question.name] = took
        except RuntimeError as exc:
            print(f"{question.name}: {str(exc)[:300]}", file=sys.stderr)
    return found


def there(stage: Stage, plan: Plan) -> list[tuple[Question, str]]:
    """The questions whose views are in the store, with their SQL."""
    connection = stage.connect()
    views = set(connection.ask("SELECT name FROM system.tables WHERE database = 'ioc'").split())
    connection.close()
    river = next(group.first for group in plan.groups() if group.kind.device_type == "gauge-river")
    names = {"river": f"wl-{river}", "speed": str(METRICS["speed_km_h"])}
    missing = [question.name for question in QUESTIONS if question.view not in views]
    if missing:
        print(f"not there: {', '.join(missing)}", file=sys.stderr)
    return [
        (question, question.sql.format(**names)) for question in QUESTIONS if question.view in views
    ]  # fmt: skip


def measure(stage: Stage, plan: Plan, rate: float) -> dict[str, dict[str, list[float]]]:
    """Milliseconds by circumstance (`reader idle`, `ward under load`) and question."""
    questions = there(stage, plan)
    password = stage.cli("store", "access", "add", "bench_ward", "--ward", _WARD).strip()
    accounts = {"reader": stage.connect("reader"), "ward": stage.connect("bench_ward", password)}
    found: dict[str, dict[str, list[float]]] = {}
    for name, connection in accounts.items():
        found[f"{name} idle"] = time_all(connection, questions)
    if rate:
        inserts = Inserts(stage, plan.devices, rate)
        inserts.start()
        began_s = time.monotonic()
        for name, connection in accounts.items():
            found[f"{name} under load"] = time_all(connection, questions)
        seconds = time.monotonic() - began_s
        inserts.stop()
        print(
            f"{inserts.rows / seconds:,.0f} readings/s meanwhile, late by {inserts.late_s:.1f} s at most",
            file=sys.stderr,
        )
    for connection in accounts.values():
        connection.close()
    stage.cli("store", "access", "remove", "bench_ward")
    return found


def figures(found: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    """The worst p95 of each group, under load where there was one."""
    judged = {name: times for name, times in found.items() if "load" in name} or found
    worst = {
        question.name: max(
            (p95(times[question.name]) for times in judged.values() if question.name in times), default=None
        )
        for question in QUESTIONS
    }
    everything = {name: {q: round(p95(took), 1) for q, took in times.items()} for name, times in found.items()}
    lines = []
    for id_, groups in (
        ("ioc_now_p95_ms", (NOW,)),
        ("ioc_history_p95_ms", (HISTORY,)),
        ("ioc_city_hour_p95_ms", (CITY_HOUR,)),
        ("ioc_slowest_p95_ms", ()),
    ):
        values = {
            question.name: value
            for question in QUESTIONS
            if (not groups or question.group in groups) and (value := worst[question.name]) is not None
        }
        if values:
            slowest = max(values, key=lambda name: values[name])
            lines.append(
                figure(id_, [values[slowest]], "ms", None, less_is_better=True, slowest=slowest, p95_ms=everything)
            )
    return lines


def show(found: dict[str, dict[str, list[float]]]) -> None:
    names = list(found)
    print(f"{'p95 in ms':<28}" + "".join(f"{name:>20}" for name in names))
    for question in QUESTIONS:
        if any(question.name in found[name] for name in names):
            cells = (
                f"{p95(found[name][question.name]):.1f}" if question.name in found[name] else "-" for name in names
            )
            print(f"{question.name:<28}" + "".join(f"{cell:>20}" for cell in cells))


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """A folder that stays, or one that goes."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = os.environ.get("FOLDER")
    parser.add_argument(
        "--data", type=Path, default=Path(kept) if kept else None, help="folder that is kept, and taken up again"
    )
    parser.add_argument("--rate", type=float, default=200_000.0, help="readings a second beside; 0: only idle")
    add_arguments(parser)
    options = parser.parse_args()
    plan = Plan(options.readings, options.devices, options.days)
    with _folder(options.data) as folder:
        bring_up_to_now(folder, plan, options.limit)
        with running_store(folder, _CONFIG) as stage:
            size, rows = stored_bytes(stage)
            found = measure(stage, plan, options.rate)
    show(found)
    for line in figures(found):
        say(line)
    say(figure("ioc_stored_bytes", [size / rows], "", None, less_is_better=True, rows=rows))


if __name__ == "__main__":
    main()
