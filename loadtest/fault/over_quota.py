"""A device faster than its quota: what is taken is stored, what is not is refused by name, and nobody else waits."""

import asyncio
import time

from cityfleet.telemetry.v1 import telemetry_pb2
from loadtest.fault.devices import METRIC
from loadtest.fault.metrics import total
from loadtest.fault.outcome import Outcome
from loadtest.fault.sprayer import Sprayer
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

# Of each device, with a burst of one second; those of the fleet stay far below.
_QUOTA = 200.0
_SECONDS = 60
_BASE_MS = 1_720_000_000_000
_OVER_QUOTA = 0x97
_COUNTED = "cityfleet_ingest_ledger_rejected_total"


async def run(trial: Trial) -> Outcome:
    seconds = max(3.0, _SECONDS * trial.scale)
    settings = f"ingest.quota.devices.messages_per_s = {_QUOTA}\ningest.quota.devices.burst_s = 1.0\n"
    async with staged(trial, settings, spare=2) as stage:
        first = len(stage.fleet.devices)
        before, began = stage.fleet.acked_messages, time.monotonic()
        trial.fault("over quota", devices=[f"wl-{first}", f"wl-{first + 1}"])
        five, three = await asyncio.gather(
            _hurry(stage, f"wl-{first}", 5, seconds), _hurry(stage, f"wl-{first + 1}", 4, seconds)
        )
        took_s = time.monotonic() - began
        others = stage.fleet.acked_messages - before
        problems = []
        if not five[1]:
            problems.append("no message was refused in MQTT 5")
        if three[1]:
            problems.append(f"{three[1]:,} messages were refused in MQTT 3.1.1, which has no code for it")
        if not others:
            problems.append("nobody else was served")
        for name, (taken, _) in ((f"wl-{first}", five), (f"wl-{first + 1}", three)):
            problems += await _compare(stage, name, taken)
        counted = await asyncio.to_thread(total, stage.roles, "ingest", _COUNTED, 'reason="quota"')
        if counted != five[1]:
            problems.append(f"{five[1]:,} messages were refused, the ledger has {counted:,.0f}")
        return await stage.finish(
            problems=tuple(problems),
            notes=(
                f"quota {_QUOTA:.0f} a second: MQTT 5 {len(five[0]) / took_s:,.0f} taken, "
                f"{five[1] / took_s:,.0f} refused; 3.1.1 {len(three[0]) / took_s:,.0f} taken; all others "
                f"{others / took_s:,.0f}",
            ),
        )


async def _hurry(stage: Stage, name: str, version: int, seconds: float) -> tuple[list[int], int]:
    """Send as fast as answers come; returns the event times of what was taken, and how many were refused."""
    taken, refused, at = [], 0, 0
    began = time.monotonic()
    async with Sprayer(stage.roles.mqtt_port, name, stage.tokens[name], version=version, window=100) as sprayer:
        while time.monotonic() - began < seconds:
            times = range(_BASE_MS + at, _BASE_MS + at + 100)
            at += 100
            payloads = [
                telemetry_pb2.ReadingBatch(base_time_ms=ts, metrics=[METRIC], value=[1.0]).SerializeToString()
                for ts in times
            ]
            codes = await sprayer.send(f"cf/v1/d/{name}/telemetry/batch", payloads)
            taken += [ts for ts, code in zip(times, codes, strict=True) if code < 0x80]
            refused += codes.count(_OVER_QUOTA)
            if set(codes) - {0, _OVER_QUOTA}:
                raise RuntimeError(f"{name}: PUBACK {sorted(set(codes))}")
            await asyncio.sleep(0.05 if refused else 0)
    return taken, refused


async def _compare(stage: Stage, name: str, taken: list[int]) -> list[str]:
    """Stored is what was taken, and nothing else. What is on its way has a minute."""
    sql = f"SELECT toUnixTimestamp64Milli(ts) FROM ioc.readings WHERE device_id = '{name}'"
    deadline = time.monotonic() + 60
    while True:
        found = [int(ts) for (ts,) in await asyncio.to_thread(stage.roles.query, sql)]
        if set(taken) <= set(found) or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    problems = []
    if missing := set(taken) - set(found):
        problems.append(f"{name}: {len(missing):,} messages were acknowledged and are missing")
    if more := set(found) - set(taken):
        problems.append(f"{name}: {len(more):,} messages were refused and are stored")
    if len(found) != len(set(found)):
        problems.append(f"{name}: doubled readings")
    return problems
