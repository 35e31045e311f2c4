"""Clocks that are wrong: of devices (1970, 2106, minutes ahead), and ingest's own, which steps by seconds to a year.

A device's wrong time is in quarantine if it is outside `ingest.time`, and stored as it is if not. Ingest's own clock is
libfaketime's; nothing that waits may depend on it.
"""

import asyncio
import time
from pathlib import Path

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.fault import checker
from loadtest.fault.outcome import Outcome
from loadtest.fault.sprayer import Sprayer
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

_LIBRARIES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")
_STEPS = 40
_DAY_MS = 86_400_000
_YEAR_2106_MS = 4_294_967_295_000
# Offset to now in milliseconds, or a time; whether it is stored.
_DEVICE_CLOCKS = (
    (lambda now: 0, False),
    (lambda now: 1_000, False),
    (lambda now: -1, False),
    (lambda now: _YEAR_2106_MS, False),
    (lambda now: 1 << 62, False),
    (lambda now: -(1 << 62), False),
    (lambda now: now + 2 * _DAY_MS, False),
    (lambda now: now + 300_000, True),
    (lambda now: now - 300_000, True),
    (lambda now: now - 365 * _DAY_MS, True),
)


def find_library() -> Path | None:
    """libfaketime for programs with threads, if it is installed."""
    return next((path for one in _LIBRARIES if (path := Path(one) / "libfaketimeMT.so.1").exists()), None)


async def run(trial: Trial) -> Outcome:
    return await (_host(trial) if trial.id == "clock_of_host" else _devices(trial))


async def _devices(trial: Trial) -> Outcome:
    rounds = max(2, round(20 * trial.scale))
    async with staged(trial, spare=1) as stage:
        name = f"wl-{len(stage.fleet.devices)}"
        stored, outside = set(), 0
        async with Sprayer(stage.roles.mqtt_port, name, stage.tokens[name]) as sprayer:
            for number in range(rounds):
                for clock, is_stored in _DEVICE_CLOCKS:
                    ts = clock(time.time_ns() // 1_000_000)
                    # Distinct, so that no two are one reading.
                    ts = ts + number if ts > 1_000_000_000_000 else ts - number
                    trial.fault("device clock", ts=ts)
                    batch = telemetry_pb2.ReadingBatch(base_time_ms=ts, metrics=["water_level_m"], value=[1.5])
                    await sprayer.send(f"cf/v1/d/{name}/telemetry/batch", [batch.SerializeToString()])
                    if is_stored:
                        stored.add(ts)
                    else:
                        outside += 1
                await asyncio.sleep(0.05)
        problems = []
        await stage.quiet(60)
        await checker.settle(stage.roles, 60)
        wanted = f"SELECT toUnixTimestamp64Milli(ts) FROM ioc.readings WHERE device_id = '{name}' AND ts > '2024-06-01'"
        found = {int(ts) for (ts,) in await asyncio.to_thread(stage.roles.query, wanted)}
        if found != stored:
            problems.append(
                f"{len(stored - found)} readings of clocks a little wrong missing, {len(found - stored)} unexpected"
            )
        reasons = await asyncio.to_thread(checker.quarantine, stage.roles)
        if sum(reasons.values()) != outside:
            problems.append(f"{outside} readings with impossible times, in quarantine are {reasons}")
        outcome = await stage.finish(problems=tuple(problems), quarantined=reasons)
        outcome.notes.append(
            f"{len(stored)} readings with a time minutes or a year off stored, {outside} impossible ones refused"
        )
        return outcome


async def _host(trial: Trial) -> Outcome:
    library = find_library()
    if library is None:
        return Outcome(notes=["skipped: libfaketime is not installed"])
    steps, worst_s = max(4, round(_STEPS * trial.scale)), 0.0
    offset = trial.folder / "offset"
    offset.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Waiting is by clocks that do not step.
        "FAKETIME_DONT_RESET": "1",
    }
    async with staged(trial, environment={"ingest": faked}) as stage:
        for number in range(steps):
            step = trial.random.choice(("+0", "+5m", "-5m", "+2h", "-2h", "+1d", "-1d", "+300d", "-300d"))
            trial.fault("ingest's clock", number=number, offset=step)
            draft = offset.with_suffix(".draft")
            draft.write_text(f"{step}\n")
            draft.rename(offset)
            began = time.monotonic()
            if trial.random.random() < 0.25:
                stage.roles.kill("ingest")
                await stage.roles.up("ingest")
            await stage.fleet.acknowledges(1)
            # Longer than libfaketime remembers the offset.
            await asyncio.sleep(trial.random.uniform(1.0, 2.0))
            await stage.fleet.acknowledges(50)
            await stage.stores()
            worst_s = max(worst_s, time.monotonic() - began)
        return await stage.finish(recovery_s=worst_s, notes=(f"{steps} steps of ingest's clock", await _clocks(stage)))


async def _clocks(stage: Stage) -> str:
    sql = "SELECT toString(min(received_at)), toString(max(received_at)) FROM cityfleet.readings"
    ((first, last),) = await asyncio.to_thread(stage.roles.query, sql, "admin")
    return f"received_at from {first} to {last}"
