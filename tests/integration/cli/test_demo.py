"""The demo as `make demo EXIT=1` runs it, with a small city: its ledger balances and it leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("executed_processes")]


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CITYFLEET_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo", "--devices", "60", "--folder", str(folder), *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}", "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(folder) in words and process.pid != os.getpid() and "cli.main" in words:
            found.append(words)
    return found


def test_the_demo_ends_by_itself_and_its_ledger_balances(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = start(folder, "--exit", "--seconds", "12")
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert "The ledger balances" in said
    for title in ("Highest water", "Worst air", "Slowest streets", "Silent devices", "Quarantine", "What to try next"):
        assert title in said
    assert not left_behind(folder)


def test_ctrl_c_stops_the_demo_and_the_platform(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    process = start(folder, "--seconds", "2")
    assert process.stdout is not None
    for line in process.stdout:
        if "What to try next" in line:
            break
    else:
        pytest.fail("the demo ended before its answers")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=90)[0]
    assert process.returncode == 0, rest
    assert time.monotonic() - began < 60
    assert not left_behind(folder)


def test_a_folder_that_is_not_a_demo_s_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    process = start(tmp_path, "--exit")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "not from a demo" in said
    assert (tmp_path / "letter.txt").read_text() == "mine"
