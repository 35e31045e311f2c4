"""Runs fuzz targets, each in a process with a bound on its time and memory, and keeps the input that broke it.

A target is a module of this folder with `CORPUS: list[bytes]`, good inputs, and `fuzz_one(data: bytes) -> None`, which
raises, crashes or does not come back if something is wrong. It must take any bytes.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.fuzz import child

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
# One input may take this long: machines are shared.
HANG_S = 30.0
MEMORY_BYTES = 2 << 30
_OUTPUT = 4000


class Outcome(NamedTuple):
    """`problem` is empty if all went well; else `input_path` has what broke the target, and `output` its last words."""

    target: str
    runs: int
    problem: str
    input_path: Path | None
    output: str


def targets() -> list[str]:
    """Names of the modules that are targets, without importing them."""
    return sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if "\ndef fuzz_one(" in path.read_text(encoding="utf-8")
    )


def best_engine() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "mutator"


def run(target: str, seconds: float, seed: int, engine: str = "mutator", repeat: Path | None = None) -> Outcome:
    """Fuzz one target for so long, or run one input again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    current = FOLDER / f"{target}.{os.getpid()}.current"
    log = current.with_suffix(".log")
    child.create(current)
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.child", target, "--current", str(current)]
    command += ["--seconds", str(seconds), "--seed", str(seed), "--engine", engine]
    command += ["--corpus", str(FOLDER / "corpus" / target)] if engine == "atheris" else []
    command += ["--repeat", str(repeat)] if repeat else []
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}
    if sanitized := os.environ.get("CITYFLEET_SANITIZED"):  # by sanitize.py
        environ["PYTHONPATH"] = f"{sanitized}{os.pathsep}{environ['PYTHONPATH']}"
        environ["LD_PRELOAD"] = os.environ["CITYFLEET_PRELOAD"]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=sanitized or ROOT, env=environ, stdout=output, stderr=output)
            problem = _watch(process, current, seconds)
        runs, data = child.read(current)
        said = log.read_text(encoding="utf-8", errors="replace")[-_OUTPUT:]
    finally:
        current.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
    if not problem:
        return Outcome(target, runs, "", None, said)
    kept = FOLDER / f"{target}-{hashlib.sha256(data).hexdigest()[:12]}"
    kept.write_bytes(data)
    return Outcome(target, runs, problem, kept, said)


def _watch(process: "subprocess.Popen[bytes]", current: Path, seconds: float) -> str:
    """Wait for its end; what went wrong, or nothing."""
    watched = psutil.Process(process.pid)
    last_runs, progress_at = -1, time.monotonic()
    problem = ""
    while process.poll() is None and not problem:
        time.sleep(0.1)
        runs, _ = child.read(current)
        now = time.monotonic()
        if runs != last_runs:
            last_runs, progress_at = runs, now
        # Before the first run it imports, which is not the target's fault.
        elif now - progress_at > (HANG_S if runs else 4 * HANG_S):
            problem = f"no answer for {HANG_S:g} s"
        try:
            if watched.memory_info().rss > MEMORY_BYTES:
                problem = f"more than {MEMORY_BYTES >> 20} MiB of memory"
        except psutil.NoSuchProcess:
            break
    if problem:
        process.kill()
    status = process.wait()
    if not problem and status:
        problem = f"ended by signal {-status}" if status < 0 else f"failed with status {status}"
    return problem
