"""The benchmarks' harness at tiny sizes: scenarios run, their ledger balances, the report has its form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.bench.catalogue import ENTRIES, chosen, is_there
from loadtest.bench.result import figure, percentiles

ROOT = Path(__file__).parents[3]
KEYS = {"id", "value", "unit", "baseline", "ratio", "runs", "spread", "stolen"}


def lines(module: str, *arguments: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, "-m", f"loadtest.bench.{module}", *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=110,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("scenario", ["packed_64", "single_64_senml_json"])
def test_a_scenario_stores_what_it_sent(scenario: str) -> None:
    (line,) = lines("endtoend", scenario, "--duration", "0.3", "--rounds", "1", "--no-baseline")
    assert set(line) >= KEYS
    assert line["id"] == scenario
    assert line["ledger"] == "sent = stored"
    assert line["value"] > 0  # type: ignore[operator]


def test_what_was_sent_becomes_visible() -> None:
    (line,) = lines("visible", "--duration", "2", "--rate", "2000", "--load", "single_64_batch")
    assert set(line) >= KEYS
    assert line["value"] > 0  # type: ignore[operator]


def test_idle_connections_are_held() -> None:
    (line,) = lines("idle", "--connections", "300")
    assert line["held"] == 300


def test_copies_are_there_and_cost_something() -> None:
    (line,) = lines("duplicates", "--blocks", "2", "--rounds", "1")
    assert set(line) >= KEYS
    assert line["copies"] == 25_000


@pytest.mark.slow
def test_durability_is_compared_with_memory_mode() -> None:
    (line,) = lines("durability_cost", "packed_64", "--duration", "0.3", "--rounds", "1")
    assert set(line) >= KEYS
    assert line["ledger"] == "sent = stored"
    assert line["value"] > 0  # type: ignore[operator]


def test_ids_and_groups_choose_figures() -> None:
    assert chosen("") == list(ENTRIES)
    assert {entry.id for entry in chosen("packed_64, block_ns")} == {"packed_64", "block_ns"}
    assert set(chosen("ingest")) == set(ENTRIES) - set(chosen("registry,ioc"))
    assert {entry.module for entry in chosen("registry")} == {"registry"}
    assert all(is_there(entry) for entry in chosen("packed_64 visible_p99_s idle_connection_bytes stored_bytes"))
    with pytest.raises(ValueError, match="speed"):
        chosen("speed")


def test_a_ratio_above_one_is_better_whatever_is_counted() -> None:
    assert figure("x", [200.0, 100.0, 300.0], "messages/s", 50.0)["ratio"] == 4
    assert figure("x", [50.0], "ns", 200.0, less_is_better=True)["ratio"] == 4
    assert figure("x", [100.0, 200.0, 300.0], "1", None)["spread"] == 1


def test_percentiles_of_counted_values() -> None:
    assert percentiles({1.0: 98, 5.0: 1, 9.0: 1}) == {"p50": 1, "p90": 1, "p99": 5, "p99.9": 9, "max": 9}
