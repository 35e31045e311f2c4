"""The registry is gone for the whole run: ingest serves from its index, also when it starts without a registry."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

RUN_S = 120.0
_KILLS = 5


async def run(trial: Trial) -> Outcome:
    run_s = max(6.0, RUN_S * trial.scale)
    kills = max(2, round(_KILLS * trial.scale))
    worst_s = 0.0
    async with staged(trial) as stage:
        roles, fleet = stage.roles, stage.fleet
        trial.fault("kill -9 registry")
        roles.kill("registry")
        for number in range(kills):
            await asyncio.sleep(run_s / kills * trial.random.uniform(0.5, 1.0))
            trial.fault("kill -9 ingest", number=number)
            roles.kill("ingest")
            killed_at = time.monotonic()
            roles.start("ingest")
            await roles.listening("ingest")
            await fleet.acknowledges(20)
            worst_s = max(worst_s, time.monotonic() - killed_at)
        await stage.stores()
        return await stage.finish(
            recovery_s=worst_s, notes=(f"no registry for some {run_s:g} s, {kills} starts of ingest without it",)
        )
