"""kill -9 of every role at the same moment, and all of them started again at the same moment."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.processes import ORDER
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

KILLS = 20


async def run(trial: Trial) -> Outcome:
    kills = max(2, round(KILLS * trial.scale))
    worst_s = 0.0
    async with staged(trial) as stage:
        roles, fleet = stage.roles, stage.fleet
        for number in range(kills):
            await asyncio.sleep(trial.random.uniform(0.1, 2.0))
            order = trial.random.sample(ORDER, len(ORDER))
            trial.fault("kill -9 of all", number=number, started_in=order)
            roles.kill(*ORDER)
            killed_at = time.monotonic()
            for role in order:
                roles.start(role)
            for role in order:
                await roles.listening(role)
            await fleet.acknowledges(1)
            worst_s = max(worst_s, time.monotonic() - killed_at)
            await stage.stores()
        return await stage.finish(
            recovery_s=worst_s, notes=(f"{kills} kills; recovery: from the kill to the next acknowledgement",)
        )
