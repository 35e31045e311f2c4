"""Everything at once, in any order: roles killed, stopped and started, the way to the store cut, slow, silent."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.processes import ORDER
from loadtest.fault.proxy import PASS, Fault
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

RUN_S = 240.0
_ACTIONS = ("kill", "kill", "kill", "freeze", "link", "link", "mend")


async def run(trial: Trial) -> Outcome:
    run_s = max(10.0, RUN_S * trial.scale)
    # Decided before anything runs, so that the seed makes the same plan however fast the machine is.
    plan = [_step(trial) for _ in range(round(run_s))]
    async with staged(trial, is_proxied=True) as stage:
        until = time.monotonic() + run_s
        done = 0
        for pause_s, action, role, fault in plan:
            if time.monotonic() > until:
                break
            await asyncio.sleep(pause_s)
            await _do(stage, action, role, fault)
            done += 1
        mended_at = time.monotonic()
        await _mend(stage)
        await stage.fleet.acknowledges(50, 60)
        await stage.stores()
        starts = ", ".join(f"{role} {count}" for role, count in stage.roles.starts.items())
        return await stage.finish(
            recovery_s=time.monotonic() - mended_at, notes=(f"{done} steps; times started: {starts}",)
        )


def _step(trial: Trial) -> tuple[float, str, str, Fault]:
    chance = trial.random
    fault = chance.choice(
        (
            Fault("answer", times=chance.choice((0, 1, 3))),
            Fault("cut", after_bytes=chance.choice((0, 1000, chance.randrange(100_000), 1 << 30)), times=2),
            Fault("reset", times=chance.choice((0, 1, 3))),
            Fault("swallow"),
            Fault("stall"),
            Fault("refuse"),
            Fault("throttle", bytes_per_s=50_000.0),
            Fault("delay", delay_s=chance.uniform(0.1, 1.0)),
        )
    )
    return chance.uniform(0.05, 2.0), chance.choice(_ACTIONS), chance.choice(ORDER), fault


async def _do(stage: Stage, action: str, role: str, fault: Fault) -> None:
    roles = stage.roles
    if action == "kill":
        stage.trial.fault(f"kill -9 {role}")
        roles.kill(role)
        roles.start(role)
    elif action == "freeze":
        stage.trial.fault(f"stop {role}")
        roles.freeze(role)
    elif action == "link":
        stage.trial.fault(f"link {fault.kind}", times=fault.times, after_bytes=fault.after_bytes)
        await stage.proxy.switch(fault)
    else:
        await _mend(stage)


async def _mend(stage: Stage) -> None:
    stage.trial.fault("mended")
    await stage.proxy.switch(PASS)
    for role in ORDER:
        stage.roles.thaw(role)
    for role in ORDER:
        await stage.roles.up(role)
