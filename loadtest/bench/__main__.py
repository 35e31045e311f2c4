"""`make bench`: each scenario in a process of its own, a table at the end, and build/bench.json."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.bench.catalogue import ENTRIES, Entry, chosen, is_there
from loadtest.bench.processes import Stolen
from loadtest.bench.reports import figures_of

Line = dict[str, Any]


def run(entry: Entry, duration_s: float | None) -> list[Line]:
    """Run one module, show what it prints, return the lines that it has for the report."""
    arguments = [*entry.arguments, *(["--duration", str(duration_s)] if duration_s and entry.has_duration else [])]
    print(f"== {entry.module} {' '.join(arguments)}", flush=True)
    lines = []
    started, stolen = time.monotonic(), Stolen()
    with subprocess.Popen(
        [sys.executable, "-m", f"loadtest.bench.{entry.module}", *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                lines += [{"stolen": stolen.share(), **found} for found in figures_of(json.loads(line))]
            else:
                print(line, end="", flush=True)
            if time.monotonic() - started > entry.limit_s:
                process.kill()
    if process.returncode:
        print(f"== {entry.module} failed with status {process.returncode}", flush=True)
    return lines


def show(lines: list[Line]) -> None:
    table = Table(
        "id", "value", "unit", "must", "aim", "reached", "baseline", "ratio", "spread", "stolen",
        box=None, pad_edge=False, header_style="bold",
    )  # fmt: skip
    by_id = {entry.id: entry for entry in ENTRIES}
    for line in lines:
        entry = by_id.get(line["id"])
        limits = (_number(entry.goal), _number(entry.aim), entry.judge(line["value"])) if entry else ("", "", "")
        table.add_row(
            line["id"],
            _number(line["value"]),
            line["unit"],
            *limits,
            _number(line["baseline"]),
            _number(line["ratio"]),
            f"{100 * line['spread']:.0f} %",
            f"{100 * line['stolen']:.0f} %",
        )
    Console(width=150).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="ids or groups, with commas between")
    parser.add_argument("--duration", type=float, help="seconds of load in each scenario that has some")
    options = parser.parse_args()
    try:
        entries = chosen(options.only)
    except ValueError as exc:
        parser.error(str(exc))
    found: list[Line] = []
    done = set()
    failed = []
    for entry in entries:
        if not is_there(entry):
            print(f"== {entry.id}: nothing measures it yet", flush=True)
        elif (entry.module, entry.arguments) not in done:
            done.add((entry.module, entry.arguments))
            found += run(entry, options.duration)
        if is_there(entry) and entry.id not in {line["id"] for line in found}:
            failed.append(entry.id)
    wanted = {entry.id for entry in entries}
    found = [line for line in found if line["id"] in wanted or not options.only]
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else []
    fresh = {line["id"] for line in found}
    kept = [line for line in before if line["id"] not in fresh] if options.only and isinstance(before, list) else []
    path.write_text(json.dumps(kept + found, indent=1))
    show(found)
    print(f"figures in {path}")
    if failed:
        raise SystemExit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
