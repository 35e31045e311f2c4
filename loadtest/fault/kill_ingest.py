"""kill -9 of ingest at random points: while it serves, starts and recovers. 200 times at full scale, one platform."""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

KILLS = 200
# One kill in so many comes before ingest listens again: while it starts, or reads its spool.
_EARLY = 5


async def run(trial: Trial) -> Outcome:
    kills = max(1, round(KILLS * trial.scale))
    worst_s = 0.0
    async with staged(trial) as stage:
        roles, fleet = stage.roles, stage.fleet
        for number in range(kills):
            # Square: more of the points are close to the start, when there is a spool to send.
            pause_s = 0.02 + 1.2 * trial.random.random() ** 2
            is_early = trial.random.randrange(_EARLY) == 0
            await asyncio.sleep(pause_s)
            trial.fault("kill -9 ingest", number=number, early=is_early)
            roles.kill("ingest")
            killed_at = time.monotonic()
            roles.start("ingest")
            if is_early:
                await asyncio.sleep(trial.random.uniform(0.05, 1.0))
                trial.fault("kill -9 ingest while it starts", number=number)
                roles.kill("ingest")
                roles.start("ingest")
            await roles.listening("ingest")
            await fleet.acknowledges(1)
            worst_s = max(worst_s, time.monotonic() - killed_at)
            if number % 20 == 19:
                trial.say(f"{number + 1} of {kills} kills, {fleet.acknowledged:,} readings acknowledged")
        return await stage.finish(
            recovery_s=worst_s, notes=(f"{kills} kills, ingest started {roles.starts['ingest']} times",)
        )
