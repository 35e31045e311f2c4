"""Segments that wait in the spool lose bytes and bits while ingest is down: gone is what was there, and it is told.

The store is out of reach meanwhile, so the spool has much. Damage: a bit turned, a run of zeros, garbage, a file that
ends early, a file that is not ours. After the start, no more is missing than recovery says is lost.
"""

import asyncio
import random
import time
from pathlib import Path

from loadtest.fault import checker
from loadtest.fault.metrics import total
from loadtest.fault.outcome import Outcome
from loadtest.fault.proxy import PASS, Fault
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

_ROUNDS = 20
_LOST_READINGS = "cityfleet_ingest_spool_lost_readings_total"
_LOST_BYTES = "cityfleet_ingest_spool_lost_bytes_total"


async def run(trial: Trial) -> Outcome:
    rounds, worst_s = max(2, round(_ROUNDS * trial.scale)), 0.0
    damages, lost, lost_bytes, records = 0, 0.0, 0.0, 0.0
    told = (0.0, 0.0)
    # Segments of half a second also while the store is away, so that there are several files.
    async with staged(trial, "ingest.spool.segment_max_age_s = 0.3\n", is_proxied=True) as stage:
        for number in range(rounds):
            await stage.proxy.switch(Fault("refuse"))
            await asyncio.sleep(trial.random.uniform(1.0, 2.0))
            records = max(records, await _readings_of_a_record(stage))
            stage.roles.kill("ingest")
            done = await asyncio.to_thread(_damage, stage.roles.data_dir / "ingest" / "spool", trial.random)
            damages += len(done)
            trial.fault("spool damaged", number=number, damages=done)
            await stage.proxy.switch(PASS)
            began = time.monotonic()
            await stage.roles.up("ingest")
            await stage.fleet.acknowledges(1)
            await _settled(stage)
            worst_s = max(worst_s, time.monotonic() - began)
            told = await asyncio.to_thread(_told, stage)
            lost, lost_bytes = lost + told[0], lost_bytes + told[1]
            trial.say(f"{len(done)} damages: {told[0]:,.0f} readings and {told[1]:,.0f} bytes told lost")
        outcome = await stage.finish(recovery_s=worst_s)
    missing, outcome.missing, outcome.missing_readings = outcome.missing_readings, [], 0
    # What is gone is missing in the ledger too; it says why.
    if outcome.ledger_imbalance == told[0]:
        outcome.ledger_imbalance = 0
    outcome.problems = [line for line in outcome.problems if " are damaged" not in line]
    if missing > lost and not lost_bytes:
        outcome.problems.append(f"{missing:,} acknowledged readings missing, {lost:,.0f} were told")
    outcome.notes.append(
        f"{damages} damages in {rounds} rounds: {missing:,} acknowledged readings missing; told lost {lost:,.0f} "
        f"readings and {lost_bytes:,.0f} bytes, also of what was not acknowledged; a record had {records:,.0f} readings"
    )
    return outcome


async def _settled(stage: Stage) -> None:
    """All that is left of the spool is stored, so that the next start tells of new damage only."""
    stage.fleet.stop()
    await stage.fleet.drain(60)
    await checker.settle(stage.roles, 60)
    stage.fleet.go_on()


def _told(stage: Stage) -> tuple[float, float]:
    return total(stage.roles, "ingest", _LOST_READINGS), total(stage.roles, "ingest", _LOST_BYTES)


async def _readings_of_a_record(stage: Stage) -> float:
    count = await asyncio.to_thread(total, stage.roles, "ingest", "cityfleet_ingest_spool_records_total")
    return stage.fleet.acknowledged / count if count else 0.0


def _number(path: Path) -> int:
    last = path.stem.rpartition("-")[2]
    return int(last) if last.isdecimal() else 0


def _damage(folder: Path, chance: random.Random) -> list[str]:
    """Returns what was done, for the history.

    The newest segment stays as it is: nothing tells how far one that was not closed went, so nobody could say what is
    missing at its end.
    """
    files = sorted((path for path in folder.glob("*.seg") if path.stat().st_size), key=_number)[:-1]
    done = []
    for path in chance.sample(files, min(len(files), chance.randint(2, 4))):
        size = path.stat().st_size
        at = chance.randrange(size)
        kind = chance.choice(("bit", "bit", "zeros", "garbage", "end"))
        with path.open("r+b") as file:
            file.seek(at)
            if kind == "bit":
                turned = bytes([file.read(1)[0] ^ 1 << chance.randrange(8)])
                file.seek(at)
                file.write(turned)
            elif kind == "end":
                file.truncate(at)
            else:
                length = min(chance.choice((1, 16, 512, 4096)), size - at)
                file.write(bytes(length) if kind == "zeros" else chance.randbytes(length))
        done.append(f"{kind} at {at} of {size} in {path.name}")
    if chance.random() < 0.3:
        (folder / chance.choice(("notes.txt", "foreign-7.seg", "x.seg", "next.draft"))).write_bytes(
            chance.randbytes(64)
        )
        done.append("a foreign file")
    return done
