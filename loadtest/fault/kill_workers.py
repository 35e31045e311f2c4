"""Two workers of ingest behind one port; one of them is killed again and again, the other goes on."""

import asyncio
import os
import signal
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

KILLS = 40
_WORKERS = 2


async def run(trial: Trial) -> Outcome:
    kills = max(3, round(KILLS * trial.scale))
    worst_s = 0.0
    async with staged(trial, f"ingest.workers = {_WORKERS}\n") as stage:
        roles, fleet = stage.roles, stage.fleet
        for number in range(kills):
            await asyncio.sleep(trial.random.uniform(0.1, 1.5))
            worker = trial.random.randrange(_WORKERS)
            pid = roles.worker_pid(worker)
            if pid is None:
                continue  # still on its way back
            trial.fault("kill -9 worker", number=number, worker=worker)
            os.kill(pid, signal.SIGKILL)
            killed_at = time.monotonic()
            await fleet.acknowledges(20)
            worst_s = max(worst_s, time.monotonic() - killed_at)
            while roles.worker_pid(worker) in (None, pid):
                if time.monotonic() - killed_at > 60:
                    raise TimeoutError(f"worker {worker} did not come back: {roles.log_end('ingest')}")
                await asyncio.sleep(0.05)
        return await stage.finish(recovery_s=worst_s, notes=(f"{kills} kills of one of {_WORKERS} workers",))
