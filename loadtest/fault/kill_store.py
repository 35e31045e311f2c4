"""kill -9 of the store while ingest inserts: acknowledgements go on from the spool, and no insert is there twice."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

KILLS = 30
# One kill in so many comes while the store starts.
_EARLY = 4


async def run(trial: Trial) -> Outcome:
    kills = max(2, round(KILLS * trial.scale))
    worst_s = 0.0
    async with staged(trial) as stage:
        roles, fleet = stage.roles, stage.fleet
        for number in range(kills):
            is_early = trial.random.randrange(_EARLY) == 0
            away_s = trial.random.choice((0.0, 0.5, 3.0))
            await asyncio.sleep(trial.random.uniform(0.1, 2.0))
            trial.fault("kill -9 store", number=number, early=is_early, away_s=away_s)
            roles.kill("store")
            await fleet.acknowledges(20, 10)
            await asyncio.sleep(away_s)
            roles.start("store")
            if is_early:
                await asyncio.sleep(trial.random.uniform(0.2, 2.0))
                trial.fault("kill -9 store while it starts", number=number)
                roles.kill("store")
                roles.start("store")
            await roles.listening("store")
            back_at = time.monotonic()
            await stage.stores()
            worst_s = max(worst_s, time.monotonic() - back_at)
            if number % 10 == 9:
                trial.say(f"{number + 1} of {kills} kills, {fleet.acknowledged:,} readings acknowledged")
        return await stage.finish(
            recovery_s=worst_s, notes=(f"{kills} kills; recovery: from the store's return to its next insert",)
        )
