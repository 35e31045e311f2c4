"""The replay command before it sends: dry runs, shifted times, paces, and errors with their exit codes."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
MAP = """
[time]
column = "when"
zone = "Asia/Ho_Chi_Minh"
[device]
id = "wl-{name}"
[[values]]
column = "level"
metric = "water_level_m"
"""
ROWS = "when,name,level\n2024-09-10 13:00,Ha Noi,9.62\n2024-09-10 12:00,Ha Noi,NA\n2024-09-10 11:00,Ha Noi,9.5\n"


def replay(folder: Path, *arguments: str, rows: str = ROWS) -> "subprocess.CompletedProcess[str]":
    (folder / "map.toml").write_text(MAP, encoding="utf-8")
    (folder / "rows.csv").write_text(rows, encoding="utf-8")
    files = [str(folder / "rows.csv"), "--map", str(folder / "map.toml"), "--data", str(folder / "data")]
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "replay", *files, *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def report(folder: Path, *arguments: str) -> dict[str, Any]:
    done = replay(folder, "--dry-run", "-o", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_dry_run_counts_and_tells_the_times_in_utc(tmp_path: Path) -> None:
    found = report(tmp_path)
    assert (found["rows"], found["readings"], found["skipped"]) == (3, 2, {"missing value": 1})
    assert found["first"] == "2024-09-10T04:00:00.000+00:00"
    assert found["last"] == "2024-09-10T06:00:00.000+00:00"
    assert not (tmp_path / "data").exists()


def test_start_moves_the_earliest_reading_and_keeps_the_distances(tmp_path: Path) -> None:
    found = report(tmp_path, "--start", "2026-01-01T00:00:00+07:00")
    assert found["first"] == "2025-12-31T17:00:00.000+00:00"
    assert found["last"] == "2025-12-31T19:00:00.000+00:00"


def test_end_now_moves_the_latest_reading_to_now(tmp_path: Path) -> None:
    last = datetime.fromisoformat(report(tmp_path, "--end", "now")["last"])
    assert abs(last - datetime.now(UTC)) < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pace", "fast"], "recorded"),
        (["--pace", "0x"], "recorded"),
        (["--start", "now", "--end", "now"], "not both"),
        (["--start", "tomorrow"], "ISO 8601"),
        (["--pack", "-1"], "pack"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = replay(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("rows", "said"), [("", "is empty"), ("when,name\n", "no column `level`")])
def test_a_file_that_does_not_fit_the_map_exits_with_2(tmp_path: Path, rows: str, said: str) -> None:
    done = replay(tmp_path, "--dry-run", rows=rows)
    assert done.returncode == 2
    assert "rows.csv" in done.stderr
    assert said in done.stderr


def test_a_device_without_token_is_said_with_the_remedy(tmp_path: Path) -> None:
    done = replay(tmp_path)
    assert done.returncode == 1
    assert "wl-ha-noi" in done.stderr
    assert "--provision" in done.stderr


def test_a_registry_that_does_not_answer_is_said(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP)
    done = replay(tmp_path, "--provision", "--registry", "127.0.0.1:1")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
