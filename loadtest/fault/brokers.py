"""Devices publish through an external broker, which is restarted or wiped, or loses one of two consumers.

What a broker has acknowledged to a device is its to keep: lost is only what docs/broker.md says it loses, the queue of
a broker that was wiped. It sends again what we had not acknowledged: copies are no fault here, if nobody sees them.
"""

import asyncio
import contextlib
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import NamedTuple

from loadtest.fault import checker
from loadtest.fault.devices import provision
from loadtest.fault.metrics import total
from loadtest.fault.mosquitto import IS_THERE, Mosquitto
from loadtest.fault.outcome import Outcome
from loadtest.fault.processes import Roles
from loadtest.fault.proxy import Proxy
from loadtest.fault.publisher import Fleet
from loadtest.fault.stage import Stage
from loadtest.fault.trial import Trial

_RESTARTS, _WIPES, _KILLS = 20, 10, 30
_DEVICES = (4, 20, 6)  # gateways, gauges, alone


class _Set(NamedTuple):
    stage: Stage
    broker: Mosquitto
    # The other ingest node, if there is one.
    second: Roles | None


@contextlib.asynccontextmanager
async def _set(trial: Trial, *, is_shared: bool) -> AsyncIterator[_Set]:
    """Everything up, consumers subscribed, devices publishing to the broker."""
    async with contextlib.AsyncExitStack() as stack:
        broker = stack.enter_context(Mosquitto(trial.folder))
        await broker.start()
        consuming = (
            f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {broker.port}\n'
            f"ingest.broker.connections = {2 if is_shared else 1}\n"
        )
        if not is_shared:
            consuming += 'ingest.broker.share_group = ""\n'
        roles = stack.enter_context(Roles(trial.folder, consuming))
        await roles.up()
        tokens = await provision(roles, *_DEVICES)
        second = stack.enter_context(_second_node(trial, roles, consuming)) if is_shared else None
        for node in (roles, second):
            if node is not None:
                await node.up("ingest")
                await _subscribed(node)
        gateways, gauges, alone = _DEVICES
        fleet = await stack.enter_async_context(
            Fleet(
                broker.port,
                tokens,
                trial.seed,
                gateways=gateways,
                gauges=gauges,
                alone=alone,
                rate=400,
                history=trial.history,
            )
        )
        await fleet.acknowledges(20)
        yield _Set(Stage(trial, roles, Proxy(("127.0.0.1", roles.ports["store"])), fleet, tokens), broker, second)


def _second_node(trial: Trial, first: Roles, consuming: str) -> Roles:
    """A second ingest with a folder of its own, on the registry and the store of the first."""
    folder = trial.folder / "second"
    folder.mkdir()
    node = Roles(
        folder,
        f'{consuming}ingest.broker.client_id = "second"\ningest.registry = "{first.registry}"\n'
        f'store.url = "{first.store_url}"\n',
    )
    shutil.copytree(first.data_dir / "secrets", node.data_dir / "secrets")
    return node


async def _subscribed(roles: Roles, seconds: float = 60.0) -> None:
    """Wait until ingest's readiness has nothing against the broker."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(_is_ready, roles):
        if time.monotonic() > deadline:
            raise TimeoutError(f"ingest is not subscribed: {roles.log_end('ingest', 500)}")
        await asyncio.sleep(0.05)


def _is_ready(roles: Roles) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{roles.metrics_ports['ingest']}/readyz", timeout=5):
            return True
    except urllib.error.URLError:
        return False


async def _pause(stage: Stage) -> None:
    """Nothing new until the fleet goes on, and the broker has acknowledged all."""
    stage.fleet.stop()
    if not await stage.fleet.drain(60):
        raise TimeoutError("the broker does not acknowledge")


def _copies_are_no_fault(fleet: Fleet) -> None:
    for device in fleet.devices:
        device.sends = bytearray(255 if sends else 0 for sends in device.sends)


async def run(trial: Trial) -> Outcome:
    if not IS_THERE:
        return Outcome(notes=["skipped: there is no mosquitto"])
    return await {
        "broker_restarted": _restarted,
        "broker_wiped": _wiped,
        "broker_consumer_killed": _consumer_killed,
    }[trial.id](trial)


async def _restarted(trial: Trial) -> Outcome:
    """In order, under load; ingest too now and then, so that the broker queues. Plain subscriptions survive that."""
    restarts, worst_s = max(3, round(_RESTARTS * trial.scale)), 0.0
    async with _set(trial, is_shared=False) as (stage, broker, _):
        for number in range(restarts):
            await asyncio.sleep(trial.random.uniform(0.2, 1.0))
            is_ingest_too = trial.random.random() < 0.4
            trial.fault("restart of the broker", number=number, ingest_killed=is_ingest_too)
            if is_ingest_too:
                stage.roles.kill("ingest")
                await asyncio.sleep(trial.random.uniform(0.0, 0.5))
            await asyncio.to_thread(broker.end)
            began = time.monotonic()
            await broker.start()
            await stage.fleet.acknowledges(1)
            if is_ingest_too:
                await stage.roles.up("ingest")
            await stage.stores()
            worst_s = max(worst_s, time.monotonic() - began)
        await _pause(stage)
        await _arrived(stage)
        _copies_are_no_fault(stage.fleet)
        return await stage.finish(recovery_s=worst_s, notes=(f"{restarts} restarts of the broker",))


async def _wiped(trial: Trial) -> Outcome:
    """Killed and wiped: with an empty queue nothing is lost; with ingest away exactly what was queued."""
    wipes, worst_s, forgiven = max(2, round(_WIPES * trial.scale)), 0.0, 0
    async with _set(trial, is_shared=False) as (stage, broker, _):
        for number in range(wipes):
            await asyncio.sleep(trial.random.uniform(0.2, 1.0))
            await _pause(stage)
            await _arrived(stage)
            is_queued = number % 2 == 1
            trial.fault("broker wiped", number=number, queue=is_queued)
            if is_queued:
                stage.roles.kill("ingest")
                known = [len(device.sends) for device in stage.fleet.devices]
                stage.fleet.go_on()
                await stage.fleet.acknowledges(50)
                await _pause(stage)
                for device, count in zip(stage.fleet.devices, known, strict=True):
                    forgiven += sum(device.acked[count:])
                    device.acked[count:] = bytes(len(device.acked) - count)
            before = 0.0 if is_queued else await _reconnects(stage)
            broker.end(signal.SIGKILL)
            broker.wipe()
            await broker.start()
            began = time.monotonic()
            if is_queued:
                await stage.roles.up("ingest")
            else:
                while await _reconnects(stage) == before:
                    await asyncio.sleep(0.05)
            await _subscribed(stage.roles)
            stage.fleet.go_on()
            await stage.stores()
            worst_s = max(worst_s, time.monotonic() - began)
        await _pause(stage)
        await _arrived(stage)
        _copies_are_no_fault(stage.fleet)
        notes = (f"{wipes} wipes; {forgiven:,} messages that only the broker had are lost, as docs/broker.md says",)
        return await stage.finish(recovery_s=worst_s, notes=notes)


async def _reconnects(stage: Stage) -> float:
    return await asyncio.to_thread(total, stage.roles, "ingest", "cityfleet_ingest_broker_reconnects_total")


async def _arrived(stage: Stage, seconds: float = 60.0) -> None:
    """Wait until the store has as much as the broker has acknowledged; what is missing then, the checker tells."""
    wanted = stage.fleet.acknowledged
    sql = f"SELECT count() FROM ioc.readings WHERE startsWith(device_id, '{stage.fleet.prefix}-')"
    deadline = time.monotonic() + seconds
    while int((await asyncio.to_thread(stage.roles.query, sql))[0][0]) < wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.1)


async def _consumer_killed(trial: Trial) -> Outcome:
    """Two ingest nodes share the subscription; now one, now the other is killed, away for a moment, and back."""
    kills, worst_s = max(4, round(_KILLS * trial.scale)), 0.0
    async with _set(trial, is_shared=True) as (stage, _, second):
        assert second is not None
        for number in range(kills):
            await asyncio.sleep(trial.random.uniform(0.2, 1.0))
            node = trial.random.choice((stage.roles, second))
            trial.fault("kill -9 of a consumer", number=number, which="second" if node is second else "first")
            node.kill("ingest")
            await asyncio.sleep(trial.random.uniform(0.0, 1.0))
            await stage.fleet.acknowledges(1)
            began = time.monotonic()
            await node.up("ingest")
            await _subscribed(node)
            worst_s = max(worst_s, time.monotonic() - began)
        await _pause(stage)
        await _arrived(stage)
        status = await asyncio.to_thread(second.terminate, "ingest")
        imbalance, broken = checker.ledger_of_log(second)
        is_good = status == 0 and imbalance == 0 and not broken
        problems = () if is_good else (f"second node: status {status}, imbalance {imbalance} {broken[:3]}",)
        _copies_are_no_fault(stage.fleet)
        notes = (f"{kills} kills of one of two consumers",)
        return await stage.finish(recovery_s=worst_s, notes=notes, problems=problems)
