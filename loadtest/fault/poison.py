"""A million payloads that nobody can decode, among good ones: each goes to quarantine, and none is in the way."""

import asyncio
import random
import time
from collections.abc import Iterator

from loadtest.fault import checker
from loadtest.fault.outcome import Outcome
from loadtest.fault.sprayer import Sprayer
from loadtest.fault.stage import staged
from loadtest.fault.trial import Trial

_PAYLOADS = 1_000_000
_SENDERS = 4


async def run(trial: Trial) -> Outcome:
    each = max(5_000, round(_PAYLOADS * trial.scale)) // _SENDERS
    async with staged(trial) as stage:
        fleet = stage.fleet
        before, began = fleet.acked_messages, time.monotonic()
        sprayers = [
            Sprayer(stage.roles.mqtt_port, f"gw-{number}", stage.tokens[f"gw-{number}"], client_id="poison")
            for number in range(_SENDERS)
        ]
        chances = [random.Random(f"{trial.seed}/{number}") for number in range(_SENDERS)]
        trial.fault("poison begins", payloads=each * _SENDERS)
        async with asyncio.TaskGroup() as group:
            for number, (sprayer, chance) in enumerate(zip(sprayers, chances, strict=True)):
                group.create_task(_spray(sprayer, f"cf/v1/g/gw-{number}/telemetry", each, chance))
        seconds = time.monotonic() - began
        good = fleet.acked_messages - before
        trial.fault("poison ends")
        problems = []
        refused = sum(count for one in sprayers for code, count in one.answers.items() if code >= 0x80)
        if refused:
            problems.append(f"{refused:,} payloads were refused, not taken")
        if not good:
            problems.append("no good message was acknowledged meanwhile")
        sent = each * _SENDERS
        await stage.quiet(120)
        await checker.settle(stage.roles, 300)
        ledger = await asyncio.to_thread(checker.ledger_entries, stage.roles)
        if ledger["quarantined"] != sent:
            problems.append(f"the ledger has {ledger['quarantined']:,.0f} in quarantine, {sent:,} were sent")
        reasons = await asyncio.to_thread(checker.quarantine, stage.roles)
        return await stage.finish(
            problems=tuple(problems),
            quarantined=dict.fromkeys(reasons, sent),
            notes=(
                f"{sent:,} poisonous payloads in {seconds:.1f} s ({sent / seconds:,.0f} a second), "
                f"{good:,} good messages acknowledged meanwhile ({good / seconds:,.0f} a second of {fleet.rate:,.0f})",
                f"in quarantine now: {', '.join(f'{reason} {count:,}' for reason, count in sorted(reasons.items()))}",
            ),
        )


async def _spray(sprayer: Sprayer, topic: str, count: int, chance: random.Random) -> None:
    async with sprayer:
        for encoding, part in (("batch", 2), ("senml-json", 1), ("senml-cbor", 1)):
            await sprayer.send(f"{topic}/{encoding}", _payloads(count * part // 4, chance))


def _payloads(count: int, chance: random.Random) -> Iterator[bytes]:
    """Garbage of all sizes. Nothing that decodes: the first byte is wrong in each of the encodings."""
    for _ in range(count):
        yield b"\x07" + chance.randbytes(chance.choice((0, 1, 7, 30, 100)))
