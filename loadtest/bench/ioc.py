"""How long the questions take on a large store: `python -m loadtest.bench.ioc --readings N [--data FOLDER]`.

Fills a store (loadtest.fill), starts it with its usual settings, and asks every question over HTTP as the reader and as
an account of one ward: first alone, then while the city's gateways send 200,000 readings a second over MQTT, which
ingest takes and writes as ever. A figure is the worst question's 95th percentile under that load, by reader or ward;
`detail` has all, and the store's CPU time of each question alone.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from loadtest.bench.filled import add_folder_arguments, filled
from loadtest.bench.ioc_load import IngestLoad, Loaded
from loadtest.bench.ioc_questions import CITY_HOUR, HISTORY, NOW, QUESTIONS, Question
from loadtest.bench.processes import cpu_s
from loadtest.bench.result import figure, say
from loadtest.fill.__main__ import Plan, stored_bytes
from loadtest.fill.kinds import METRICS
from loadtest.fill.stage import Connection, Stage, end_in_order, running_store

# A ward may ask as fast as it can here; its other limits stand.
_CONFIG = "store.access.queries_per_minute = 100000\nstore.access.execution_s_per_minute = 100000.0"
_WARD = "00070"
# Each question has many turns, a while apart, for so long or so many calls: merges and rollups come and go, and calls
# one after another meet the same ones. More than twenty, so that no single turn makes a p95.
_TURNS = 21
_TURNS_ALONE = 4
_TURN_S = 0.2
_MOST = 5
# Nobody sends between filling and the load, so the city falls silent; tables of now follow within a minute.
_SETTLE_S = 90.0


def p95(values: Sequence[float]) -> float:
    """Nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def time_all(
    connection: Connection, questions: Sequence[tuple[Question, str]], pid: int, turns: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of each question, over and over for a while, and of CPU of process `pid` for one.

    Without those that could not be answered.
    """
    found: dict[str, list[float]] = {}
    used_s: dict[str, float] = {}
    asked = list(questions)
    for _ in range(turns):
        for question, sql in tuple(asked):
            took: list[float] = []
            ends_s = time.monotonic() + _TURN_S
            try:
                connection.ask(sql)
                before_s = cpu_s(pid)
                while not took or (len(took) < _MOST and time.monotonic() < ends_s):
                    began_s = time.perf_counter()
                    connection.ask(sql)
                    took.append((time.perf_counter() - began_s) * 1000)
            except RuntimeError as exc:
                print(f"{question.name}: {str(exc)[:300]}", file=sys.stderr)
                asked.remove((question, sql))
                found.pop(question.name, None)
                continue
            found.setdefault(question.name, []).extend(took)
            used_s[question.name] = used_s.get(question.name, 0.0) + cpu_s(pid) - before_s
    return found, {name: used_s[name] / len(took) * 1000 for name, took in found.items()}


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


class Measured(NamedTuple):
    """`times`: milliseconds by circumstance (`reader idle`, `ward under load`) and question.

    `cpu_ms`: of the store, by question of the reader alone; `load`: None without one.
    """

    times: dict[str, dict[str, list[float]]]
    cpu_ms: dict[str, float]
    load: Loaded | None


def measure(stage: Stage, plan: Plan, rate: float) -> Measured:
    questions = there(stage, plan)
    password = stage.cli("store", "access", "add", "bench_ward", "--ward", _WARD).strip()
    accounts = {"reader": stage.connect("reader"), "ward": stage.connect("bench_ward", password)}
    found: dict[str, dict[str, list[float]]] = {}
    used: dict[str, dict[str, float]] = {}
    for name, connection in accounts.items():
        found[f"{name} idle"], used[name] = time_all(connection, questions, stage.pid, _TURNS_ALONE)
    loaded = None
    if rate:
        load = IngestLoad(stage.deployment(), plan.devices, rate)
        load.begin()
        time.sleep(_SETTLE_S)
        for name, connection in accounts.items():
            found[f"{name} under load"], _ = time_all(connection, questions, stage.pid, _TURNS)
        loaded = load.stop()
        print(
            f"{loaded.readings / loaded.seconds:,.0f} readings/s meanwhile, all stored, "
            f"late by {loaded.late_s:.1f} s at most, CPU-us each: {loaded.cpu_us}",
            file=sys.stderr,
        )
    for connection in accounts.values():
        connection.close()
    stage.cli("store", "access", "remove", "bench_ward")
    return Measured(found, used["reader"], loaded)


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


def show(measured: Measured) -> None:
    found = measured.times
    names = list(found)
    print(f"{'p95 in ms':<28}" + "".join(f"{name:>20}" for name in names) + f"{'CPU':>12}")
    for question in QUESTIONS:
        if any(question.name in found[name] for name in names):
            cells = (
                f"{p95(found[name][question.name]):.1f}" if question.name in found[name] else "-" for name in names
            )
            cpu = measured.cpu_ms.get(question.name, math.nan)
            print(f"{question.name:<28}" + "".join(f"{cell:>20}" for cell in cells) + f"{cpu:>12.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200_000.0, help="readings a second beside; 0: only idle")
    add_folder_arguments(parser)
    options = parser.parse_args()
    end_in_order()
    with (
        filled(parser, options) as (folder, plan),
        running_store(folder, _CONFIG, with_ingest=options.rate > 0) as stage,
    ):
        size, rows = stored_bytes(stage)
        found = measure(stage, plan, options.rate)
    show(found)
    for line in figures(found.times):
        say({**line, "cpu_ms": found.cpu_ms, "load": found.load._asdict() if found.load else None})
    say(figure("ioc_stored_bytes", [size / rows], "", None, less_is_better=True, rows=rows))


if __name__ == "__main__":
    main()
