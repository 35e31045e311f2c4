"""`make fault`: the scenarios one after the other, a table, and build/fault.json."""

import argparse
import secrets
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from loadtest.fault.catalogue import Entry, chosen
from loadtest.fault.outcome import Outcome
from loadtest.fault.trial import KEPT, again, perform

_REPORT = Path("build/fault.json")


def show(results: list[tuple[Entry, int, Outcome]]) -> None:
    """One line a run."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scenario", "run", "verdict"):
        table.add_column(name)
    for name in ("acknowledged", "stored", "missing", "doubled", "wrong", "ledger", "peak MB", "recovery s", "s"):
        table.add_column(name, justify="right")
    for entry, run, outcome in results:
        table.add_row(
            entry.id,
            str(run),
            "FAILED" if outcome.failed else "passed",
            *(
                f"{number:,}"
                for number in (
                    outcome.acknowledged,
                    outcome.stored,
                    outcome.missing_readings,
                    outcome.doubled_readings,
                    outcome.wrong_readings,
                    outcome.ledger_imbalance,
                )
            ),
            "/".join(f"{outcome.peak_rss_mb.get(role, 0):.0f}" for role in ("ingest", "store")),
            f"{outcome.recovery_s:.1f}",
            f"{outcome.seconds:.0f}",
        )
    Console(width=160).print(table)


def report(seed: str, scale: float, results: list[tuple[Entry, int, Outcome]]) -> list[dict[str, Any]]:
    return [
        {
            "id": entry.id,
            "run": run,
            "seed": seed,
            "scale": scale,
            "failed": outcome.failed,
            **msgspec.to_builtins(outcome),
        }
        for entry, run, outcome in results
    ]


def _perform(entry: Entry, seed: str, run: int, scale: float) -> Outcome:
    print(f"== {entry.id} {run}: {entry.summary}", flush=True)
    outcome = perform(entry, seed, run, scale, lambda text: print(text, flush=True))
    for note in outcome.notes:
        print(f"   {note}", flush=True)
    if outcome.failed:
        print(f"== {entry.id} {run} FAILED: {outcome.failed}", flush=True)
        print(f"   kept in {KEPT / f'{entry.id}-{run}'}; again: {again(entry, seed, run, scale)}", flush=True)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(prog="make fault", description=__doc__)
    parser.add_argument("--only", default="", help="scenarios, with commas between")
    parser.add_argument("--seed", default="", help="from which each run's own is made; without it a new one")
    parser.add_argument("--runs", type=int, help="how often each scenario runs")
    parser.add_argument("--run", type=int, help="this one run only, as a failure names it")
    parser.add_argument("--quick", action="store_true", help="each a tenth as long")
    parser.add_argument("--scale", type=float, help="how long each is, 1 for its full length")
    options = parser.parse_args()
    seed = options.seed or secrets.token_hex(4)
    scale = options.scale or (0.1 if options.quick else 1.0)
    try:
        entries = chosen(options.only)
    except ValueError as exc:
        parser.error(str(exc))
    print(f"seed {seed}", flush=True)
    results: list[tuple[Entry, int, Outcome]] = []
    try:
        for entry in entries:
            count = options.runs or (entry.quick_runs if options.quick else entry.runs)
            for run in [options.run] if options.run is not None else range(count):
                outcome = _perform(entry, seed, run, scale)
                results.append((entry, run, outcome))
    except KeyboardInterrupt:
        print("interrupted; so far:", flush=True)
    show(results)
    _REPORT.parent.mkdir(exist_ok=True)
    _REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(report(seed, scale, results)), indent=1))
    failures = [(entry, run) for entry, run, outcome in results if outcome.failed]
    print(f"{len(results) - len(failures)} of {len(results)} passed; seed {seed}; figures in {_REPORT}")
    for entry, run in failures:
        print(f"failed: {again(entry, seed, run, scale)}")
    if failures or not results:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
