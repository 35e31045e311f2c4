"""The store's process stands still (SIGSTOP) for a minute: connections are there, nothing answers."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

STOPPED_S = 60.0


async def run(trial: Trial) -> Outcome:
    stopped_s = max(3.0, STOPPED_S * trial.scale)
    worst_s = 0.0
    async with staged(trial) as stage:
        roles, fleet = stage.roles, stage.fleet
        for is_killed in (False, True):
            await asyncio.sleep(trial.random.uniform(0.5, 1.5))
            trial.fault("stop the store", seconds=stopped_s)
            roles.freeze("store")
            until = time.monotonic() + stopped_s
            while time.monotonic() < until:
                await fleet.acknowledges(20, 10)
                await asyncio.sleep(0.2)
            if is_killed:
                # Ingest starts with a store that accepts connections and says nothing.
                trial.fault("kill -9 ingest")
                roles.kill("ingest")
                await roles.up("ingest")
                await fleet.acknowledges(20, 10)
            trial.fault("continue the store")
            roles.thaw("store")
            worst_s = max(worst_s, await stage.stores())
        return await stage.finish(
            recovery_s=worst_s, notes=(f"{stopped_s:g} s each; recovery: from the store's return to its next insert",)
        )
