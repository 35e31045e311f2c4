"""The spool's disk is full: nothing is acknowledged then, nothing corrupt, and all goes on when there is room again.

The disk is a tmpfs of a few megabytes. It is filled by the spool itself, while the store is out of reach, and by a file
of somebody else; ingest is killed on the full disk and started on it.
"""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from loadtest.fault.metrics import total
from loadtest.fault.outcome import Outcome
from loadtest.fault.proxy import PASS, Fault
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

_ROUNDS = 12
_SIZE_MB = 12
# Quick traffic: the disk is full within seconds.
_RATE, _PER_MESSAGE = 1500.0, 50
_QUIET_S = 1.5


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a tmpfs there. Raises: PermissionError where we may not."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


async def run(trial: Trial) -> Outcome:
    rounds, worst_s = max(3, round(_ROUNDS * trial.scale)), 0.0
    disk = trial.folder / "data" / "ingest"
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(small_disk(disk, _SIZE_MB))
        except (PermissionError, FileNotFoundError) as exc:
            return Outcome(notes=[f"skipped: no tmpfs can be mounted here: {exc}"])
        async with staged(trial, settings(trial), is_proxied=True, rate=_RATE, per_message=_PER_MESSAGE) as stage:
            counts = dict.fromkeys(("spool", "others", "start"), 0)
            for number in range(rounds):
                kind = ("spool", "others", "start")[number % 3]
                counts[kind] += 1
                trial.fault("disk full", number=number, by=kind)
                if kind != "others":
                    await stage.proxy.switch(Fault("refuse"))
                # What the store takes frees some of the disk, which the spool would use again.
                await _falls_silent(stage, disk if kind == "others" else None)
                if kind == "start":
                    _fill(disk)
                    stage.roles.kill("ingest")
                    await stage.roles.up("ingest")
                    await asyncio.sleep(trial.random.uniform(0.0, 1.0))
                trial.fault("mended", free=_free(disk))
                (disk / "ballast").unlink(missing_ok=True)
                await stage.proxy.switch(PASS)
                began = time.monotonic()
                await stage.fleet.acknowledges(100)
                worst_s = max(worst_s, time.monotonic() - began)
                trial.say(f"full by {kind}: acknowledged again after {time.monotonic() - began:.1f} s")
            failures = await asyncio.to_thread(
                total, stage.roles, "ingest", "cityfleet_ingest_spool_append_failures_total"
            )
            notes = ", ".join(f"{count} by {kind}" for kind, count in counts.items())
            return await stage.finish(
                recovery_s=worst_s,
                notes=(f"full {rounds} times: {notes}; {failures:.0f} failed appends since the last start",),
            )


def settings(trial: Trial) -> str:
    """Half of the runs meet the disk's own refusal, half the spool's that comes before it."""
    least = trial.random.choice((0, 2_000_000))
    return f"ingest.spool.min_free_bytes = {least}\ningest.spool.segment_max_bytes = 1000000\n"


def _fill(disk: Path) -> None:
    """Take what is left, to the last byte."""
    with (disk / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def _free(disk: Path) -> int:
    about = os.statvfs(disk)
    return about.f_bavail * about.f_frsize


async def _falls_silent(stage: Stage, filled: Path | None, seconds: float = 60.0) -> None:
    """Wait until nothing is acknowledged any more, keeping the disk full of something else if it is given.

    Raises: TimeoutError if that does not come to pass.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() - stage.fleet.last_ack_at < _QUIET_S:
        if time.monotonic() > deadline:
            raise TimeoutError("acknowledgements go on though the disk must be full")
        if filled is not None:
            _fill(filled)
        await asyncio.sleep(0.05)
