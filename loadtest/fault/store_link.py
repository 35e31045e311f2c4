"""The way to the store fails in the middle of inserts: what was committed without our hearing of it is not there twice.

`store_500`: whole inserts reach the store, which commits them, and 500 comes back. `store_cut`: the connection is reset
in the body, after the body, after the commit, or not made at all. Ingest is killed in between now and then.
"""

import asyncio
import time

from loadtest.fault.outcome import Outcome
from loadtest.fault.proxy import PASS, Fault, Kind
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

ROUNDS = 60
# One round in so many kills ingest while the fault lasts: the new process knows less of the insert than the old one.
_KILL = 4


async def run(trial: Trial) -> Outcome:
    rounds = max(4, round(ROUNDS * trial.scale))
    worst_s = 0.0
    async with staged(trial, is_proxied=True) as stage:
        for number in range(rounds):
            fault = _choose(trial)
            trial.fault(fault.kind, number=number, times=fault.times, after_bytes=fault.after_bytes)
            await stage.proxy.switch(fault)
            await asyncio.sleep(trial.random.uniform(0.2, 1.5))
            if number % _KILL == _KILL - 1:
                trial.fault("kill -9 ingest", number=number)
                stage.roles.kill("ingest")
                await stage.roles.up("ingest")
            await stage.fleet.acknowledges(10, 20)
            worst_s = max(worst_s, await _mend(stage))
        counts = {kind: stage.proxy.counts[kind] for kind in ("answer", "cut", "reset", "refuse")}
        problems = () if sum(counts.values()) else ("the proxy broke nothing",)
        return await stage.finish(
            recovery_s=worst_s,
            problems=problems,
            notes=(f"{rounds} faults, {', '.join(f'{kind} {count}' for kind, count in counts.items() if count)}",),
        )


def _choose(trial: Trial) -> Fault:
    chance = trial.random
    if trial.id == "store_500":
        return Fault("answer", status=chance.choice((500, 500, 502, 503)), times=chance.choice((0, 1, 2, 5)))
    kinds: tuple[Kind, ...] = ("cut", "cut", "reset", "reset", "refuse")
    kind = chance.choice(kinds)
    # Larger than any insert: the connection ends right after the body, before the answer.
    after_bytes = chance.choice((0, 1, 100, 3000, chance.randrange(60_000), 1 << 30)) if kind == "cut" else 0
    return Fault(kind, after_bytes=after_bytes, times=0 if kind == "refuse" else chance.choice((0, 1, 3)))


async def _mend(stage: Stage) -> float:
    stage.trial.fault("mended")
    await stage.proxy.switch(PASS)
    began = time.monotonic()
    await stage.stores()
    return time.monotonic() - began
