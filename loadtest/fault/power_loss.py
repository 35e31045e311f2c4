"""Power losses, after which what was not synced is gone: of ingest, of the registry, of the machine with all roles."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import grpc

from cityfleet.registry.v1 import device_pb2, device_pb2_grpc
from loadtest.fault.connects import connect
from loadtest.fault.outcome import Outcome
from loadtest.fault.power.loss import PowerFolder
from loadtest.fault.processes import ORDER
from loadtest.fault.stage import Stage, staged
from loadtest.fault.trial import Trial

# How often at full length.
_LOSSES = {"power_ingest": 40, "power_registry": 15, "power_machine": 15}
# The roles on one power supply, and the folder below the data folder that has all that they write.
_ON_ONE_SUPPLY = {
    "power_ingest": (("ingest",), "ingest"),
    "power_registry": (("registry",), "registry"),
    "power_machine": (ORDER, "."),
}


@contextlib.asynccontextmanager
async def _powered(
    trial: Trial, below: str, roles: tuple[str, ...], **options: object
) -> AsyncIterator[tuple[Stage, PowerFolder]]:
    """A platform that has run for a while: all it has is on the disk. Then `roles` live on power that may go."""
    async with staged(trial, **options) as stage:  # type: ignore[arg-type]
        for role in reversed(ORDER):
            await asyncio.to_thread(stage.roles.terminate, role)
        # The engine leaves the names of its parts to a file system with a journal; our own files do without.
        has_journal = "store" in roles or trial.random.random() < 0.5
        power = PowerFolder(stage.roles.data_dir / below, trial.folder / "power", has_journal=has_journal)
        for role in roles:
            stage.roles.environment_of.setdefault(role, {}).update(power.environment)
        await stage.roles.up()
        await stage.fleet.acknowledges(1)
        yield stage, power


async def _lose(stage: Stage, power: PowerFolder, roles: tuple[str, ...]) -> float:
    """Kill the roles at once, leave what the disk has, start them; returns the seconds until acknowledgements."""
    trial = stage.trial
    # Sometimes nothing is left that was not synced, else a part of it.
    chance = random.Random(trial.random.random()) if trial.random.random() < 0.7 else None
    trial.fault("power loss", roles=roles, number=power.losses, strict=chance is None)
    stage.roles.kill(*roles)
    await asyncio.to_thread(power.lose, chance)
    for role in roles:
        stage.roles.environment_of[role].update(power.environment)
    began = time.monotonic()
    await stage.roles.up(*[role for role in ORDER if role in roles])
    await stage.fleet.acknowledges(1)
    return time.monotonic() - began


class _Registrar:
    """Creates devices as fast as the registry answers, and remembers which it was told are there."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._asked = 0
        self.created: dict[str, str] = {}  # device id: token

    async def create(self, seconds: float) -> None:
        await asyncio.to_thread(self._create, seconds)

    def _create(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._stage.roles.registry_channel() as channel:
            devices = device_pb2_grpc.DeviceServiceStub(channel)
            while time.monotonic() < deadline:
                self._asked += 1
                name = f"new-{self._asked}"
                wanted = device_pb2.Device(device_type="fault-gauge", ward_code="00070")
                request = device_pb2.CreateDeviceRequest(device_id=name, device=wanted)
                self.created[name] = devices.CreateDevice(request, timeout=20, wait_for_ready=True).token

    async def missing(self) -> list[str]:
        """What is not as the registry had said."""
        return await asyncio.to_thread(self._missing)

    def _missing(self) -> list[str]:
        found = []
        with self._stage.roles.registry_channel() as channel:
            devices = device_pb2_grpc.DeviceServiceStub(channel)
            for name in self.created:
                try:
                    devices.GetDevice(device_pb2.GetDeviceRequest(name=f"devices/{name}"), timeout=20)
                except grpc.RpcError as exc:
                    found.append(f"{name} was created and is not there: {exc.code()}")
        for name in list(self.created)[:: max(1, len(self.created) // 20)]:
            # Ingest asks a registry that was away again after a while.
            deadline = time.monotonic() + 30
            while (
                code := connect(self._stage.roles.mqtt_port, name, self.created[name])
            ) and time.monotonic() < deadline:
                time.sleep(0.1)
            if code:
                found.append(f"{name} was created, ingest refuses it: {code}")
                break
        numbers = self._stage.roles.query("SELECT count(), uniqExact(device_num) FROM ioc.devices")[0]
        if numbers[0] != numbers[1]:
            found.append(f"{numbers[0]} devices have {numbers[1]} numbers")
        return found[:5]


async def run(trial: Trial) -> Outcome:
    losses, worst_s = max(2, round(_LOSSES[trial.id] * trial.scale)), 0.0
    roles, below = _ON_ONE_SUPPLY[trial.id]
    registrar: _Registrar | None = None
    async with _powered(trial, below, roles) as (stage, power):
        for number in range(losses):
            if trial.id == "power_registry":
                registrar = registrar or _Registrar(stage)
                await registrar.create(trial.random.uniform(0.2, 1.5))
            else:
                await asyncio.sleep(trial.random.uniform(0.05, 1.5))
            worst_s = max(worst_s, await _lose(stage, power, roles))
            trial.say(f"{number + 1} of {losses} losses, {stage.fleet.acknowledged:,} readings acknowledged")
        problems = await registrar.missing() if registrar else ()
        notes = [f"{losses} power losses of {', '.join(roles)}"]
        if registrar:
            notes.append(f"{len(registrar.created):,} devices created meanwhile, all of them there")
        return await stage.finish(recovery_s=worst_s, notes=tuple(notes), problems=tuple(problems))
