"""One run of a scenario: its seed, its folder, its history."""

import asyncio
import inspect
import json
import os
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from loadtest.fault.catalogue import Entry
from loadtest.fault.outcome import Outcome

KEPT = Path("build/fault")


class History:
    """`history.ndjson`: what was published, acknowledged and broken, when (seconds since the run began)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", buffering=1 << 16)
        self._began = time.monotonic()

    def append(self, event: str, **fields: object) -> None:
        self._file.write(json.dumps({"t": round(time.monotonic() - self._began, 4), "event": event, **fields}) + "\n")

    def message(self, event: str, device: str, message: int) -> None:
        """The same for the hundreds of thousands of publishes and acknowledgements: names need no escapes."""
        t = time.monotonic() - self._began
        self._file.write(f'{{"t":{t:.4f},"event":"{event}","device":"{device}","message":{message}}}\n')

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class Trial:
    """What a scenario gets.

    Args:
        scale: 1.0 for the length that the scenario is meant to have, 0.1 for a quick one.
        folder: fresh and empty; kept if the run fails.
    """

    def __init__(self, id_: str, run: int, seed: str, scale: float, folder: Path, say: Callable[[str], None]) -> None:
        self.id = id_
        self.run = run
        self.seed = f"{seed}/{id_}/{run}"
        self.random = random.Random(self.seed)
        self.scale = scale
        self.folder = folder
        self.history = History(folder / "history.ndjson")
        self._say = say

    def say(self, text: str) -> None:
        """A line for who watches, and for the history."""
        self.history.append("say", text=text)
        self._say(f"{self.id}/{self.run}: {text}")

    def fault(self, what: str, **fields: object) -> None:
        """Something is about to be broken, or mended."""
        self.history.append("fault", what=what, **fields)


def perform(
    entry: Entry, seed: str, run: int = 0, scale: float = 1.0, say: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Run one scenario once, in a folder of its own; if it fails, leave `build/fault/<id>-<run>`.

    An exception of the scenario is a failure with its traceback beside the history.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{entry.id}-"))
    trial = Trial(entry.id, run, seed, scale, folder, say)
    trial.history.append("begin", id=entry.id, run=run, seed=seed, scale=scale)
    try:
        outcome = _judge(entry, trial)
        if outcome.failed:
            _keep(folder, KEPT / f"{entry.id}-{run}", outcome)
        return outcome
    finally:
        trial.history.close()
        shutil.rmtree(folder, ignore_errors=True)


def _judge(entry: Entry, trial: Trial) -> Outcome:
    began = time.monotonic()
    try:
        outcome = _call(import_module(f"loadtest.fault.{entry.module}").run, trial, entry.limit_s)
    except Exception as exc:
        (trial.folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        text = str(exc) or type(exc).__name__
        outcome = Outcome(problems=[text if len(text) < 1200 else f"{text[:200]} ... {text[-1000:]}"])
    outcome.seconds = round(time.monotonic() - began, 1)
    trial.history.append("end", outcome=msgspec.to_builtins(outcome), failed=outcome.failed)
    trial.history.flush()
    return outcome


def again(entry: Entry, seed: str, run: int, scale: float) -> str:
    """The command that does this run once more."""
    return f"make fault ONLY={entry.id} SEED={seed} RUN={run}" + (f" SCALE={scale:g}" if scale != 1.0 else "")


def _call(function: Callable[[Trial], Any], trial: Trial, limit_s: float) -> Outcome:
    if not inspect.iscoroutinefunction(function):
        found = function(trial)
    else:
        found = uvloop.run(_bounded(function(trial), limit_s))
    assert isinstance(found, Outcome)
    return found


async def _bounded(running: Awaitable[Outcome], limit_s: float) -> Outcome:
    try:
        async with asyncio.timeout(limit_s):
            return await running
    except TimeoutError as exc:
        # One that the scenario raised itself says more.
        raise TimeoutError(str(exc) or f"not through after {limit_s:g} s") from exc


def _keep(folder: Path, to: Path, outcome: Outcome) -> None:
    """History, logs, settings and what was found; not the engine's data, which is large."""
    shutil.rmtree(to, ignore_errors=True)
    to.parent.mkdir(parents=True, exist_ok=True)

    def unwanted(at: str, names: list[str]) -> set[str]:
        return {name for name in names if name in ("store", "registry", "secrets") and os.path.basename(at) == "data"}  # noqa: PTH119

    shutil.copytree(folder, to, ignore=unwanted, ignore_dangling_symlinks=True)
    (to / "outcome.json").write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1))
