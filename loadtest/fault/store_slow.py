"""Full rate against a store that takes a tenth of it: the spool fills to its limit and devices wait."""

import asyncio
import time
from pathlib import Path

from loadtest.fault.outcome import Outcome
from loadtest.fault.proxy import PASS, Fault
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

SLOW_S = 120.0
SPOOL_BYTES = 400_000_000
# Above the limit by what was on its way when it was reached: the open segment and what the sockets had brought.
_SPOOL_SLACK_BYTES = 150_000_000
_FULL_RATE = 20_000.0  # messages a second; the windows and the acknowledgements hold it to what ingest takes
_MEASURE_S = 4.0
# Drained: so small a part of the limit is left, within so long.
_DRAINED = 2
_DRAIN_S = 30.0


async def run(trial: Trial) -> Outcome:
    slow_s, limit_bytes = max(10.0, SLOW_S * trial.scale), round(SPOOL_BYTES * max(0.25, trial.scale))
    settings = f"ingest.spool.max_bytes = {limit_bytes}\ningest.spool.segment_max_bytes = {limit_bytes // 8}\n"
    async with staged(trial, settings, is_proxied=True, rate=_FULL_RATE, per_message=200, window=64) as stage:
        before, began = stage.proxy.counts["up_bytes"], time.monotonic()
        await asyncio.sleep(_MEASURE_S)
        full = (stage.proxy.counts["up_bytes"] - before) / (time.monotonic() - began)
        rate = stage.fleet.acknowledged / (time.monotonic() - began)
        trial.say(f"{rate:,.0f} readings/s, {full / 1e6:.1f} MB/s to the store")
        trial.fault("a tenth", bytes_per_s=full / 10, seconds=slow_s)
        await stage.proxy.switch(Fault("throttle", bytes_per_s=full / 10))
        most_bytes, longest_s = await _watch(stage, slow_s)
        trial.fault("mended")
        await stage.proxy.switch(PASS)
        resumed_s, drained_s = await asyncio.gather(
            stage.fleet.acknowledges(1000, 60), _drain(stage, limit_bytes // _DRAINED)
        )
        problems = []
        if most_bytes > limit_bytes + _SPOOL_SLACK_BYTES:
            problems.append(f"the spool grew to {most_bytes:,} bytes, its limit is {limit_bytes:,}")
        if drained_s > _DRAIN_S:
            problems.append(
                f"the spool had not drained {_DRAIN_S:g} s after the store was back, with devices at full rate"
            )
        return await stage.finish(
            recovery_s=resumed_s,
            settle_s=240,
            problems=tuple(problems),
            notes=(
                f"{full / 1e6:.1f} MB/s to the store before, a tenth for {slow_s:g} s; spool at most "
                f"{most_bytes / 1e6:.0f} MB of {limit_bytes / 1e6:.0f}; longest silence {longest_s:.1f} s; "
                f"drained in {drained_s:.1f} s while readings came in",
            ),
        )


async def _drain(stage: Stage, to_bytes: int) -> float:
    """Seconds until the spool holds no more than that, devices publishing as fast as they are let."""
    began = time.monotonic()
    while size_bytes(stage.roles.data_dir / "ingest" / "spool") > to_bytes:
        if time.monotonic() - began > _DRAIN_S:
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def _watch(stage: Stage, seconds: float) -> tuple[int, float]:
    """The most that the spool held, and the longest time without an acknowledgement."""
    most_bytes, longest_s = 0, 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        most_bytes = max(most_bytes, size_bytes(stage.roles.data_dir / "ingest" / "spool"))
        longest_s = max(longest_s, time.monotonic() - stage.fleet.last_ack_at)
        await asyncio.sleep(0.25)
    return most_bytes, longest_s


def size_bytes(folder: Path) -> int:
    """Of all files; those that go while we look count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
