"""Ingest's reporter against a registry that gave its node up, that is away for a while, or that refuses a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cityfleet.registry.v1 import device_pb2
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_state_pb2 import ReportDeviceStatesRequest
from cityfleet.registry.v1.device_state_pb2_grpc import DeviceStateServiceStub
from ext.telemetry.device_states import ENDS, DeviceStates
from ext.telemetry.index import DeviceIndex
from ingest.state import reporter as module
from ingest.state.reporter import StateReporter
from tests.support.provision import Provisioner
from tests.support.registry import RunningRegistry, running_registry, wait_until

NOW_MS = 1_790_000_000_000


class Told:
    """A reporter in this process, with the devices d-0 to d-2 in slots 0 to 2."""

    def __init__(self, registry: RunningRegistry) -> None:
        self.registry = registry
        index = DeviceIndex()
        index.put_type(1, "gauge", False, "json", [])
        with Provisioner(registry.channel()) as fleet:
            fleet.type("gauge", {"water_level_m": None})
            for slot in range(3):
                fleet.device(f"d-{slot}", "gauge")
                num = fleet.devices.GetDevice(device_pb2.GetDeviceRequest(name=f"devices/d-{slot}")).device_num
                index.put_device(num, f"d-{slot}", 1, "", 0, [], True)
        self.states = DeviceStates(index, "node/0", 1, ENDS, 0)
        self.reporter = StateReporter(self.states, registry.address, registry.internal_token, 0.1)

    def get(self, slot: int) -> device_pb2.ReportedState:
        with self.registry.channel() as channel:
            request = device_pb2.GetDeviceRequest(name=f"devices/d-{slot}", view=device_pb2.DEVICE_VIEW_FULL)
            return DeviceServiceStub(channel).GetDevice(request).reported

    async def until(self, slot: int, claim: Callable[[device_pb2.ReportedState], bool]) -> device_pb2.ReportedState:
        for _ in wait_until(f"d-{slot} is as it should be"):
            found = await asyncio.to_thread(self.get, slot)
            if claim(found):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.reporter.run())
        try:
            yield
            self.reporter.leave()
            async with asyncio.timeout(60):
                await task
        finally:
            task.cancel()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Told]:
    folder: Path = tmp_path_factory.mktemp("registry")
    with running_registry(folder) as registry:
        yield Told(registry)


@pytest.fixture(autouse=True)
def anew(told: Told) -> None:
    """A reporter ends once."""
    told.reporter = StateReporter(told.states, told.registry.address, told.registry.internal_token, 0.1)


async def test_what_is_told_in_the_end_is_there(told):
    async with told.running():
        told.states.open(2)
        await told.until(2, lambda one: one.is_connected)
        told.states.close(2, 0)
        told.states.document(2, b'{"config_version": 3}', NOW_MS)
    found = await asyncio.to_thread(told.get, 2)
    assert (found.is_connected, found.disconnect_reason, found.config_version) == (False, "normal_disconnection", 3)


async def test_connections_that_the_registry_gave_up_are_told_again(told, monkeypatch):
    monkeypatch.setattr(module, "_LOST_S", 0.0)
    told.states.open(0)
    async with told.running():
        await told.until(0, lambda one: one.is_connected)
        # What the registry also does with a node that it does not hear for a minute.
        with told.registry.channel() as channel:
            other = iter([ReportDeviceStatesRequest(node="node/0", run=2)])
            list(DeviceStateServiceStub(channel).ReportDeviceStates(other, metadata=told.registry.metadata))
        await asyncio.to_thread(told.registry.kill)
        await asyncio.to_thread(told.registry.start)
        found = await told.until(0, lambda one: one.is_connected)
        assert found.connect_time.ToMilliseconds() > NOW_MS - 10**12
    told.states.close(0, 0)


async def test_a_request_that_would_never_be_taken_does_not_hold_up_the_others(told):
    told.states.see(1, 1 << 60)  # no time that a registry knows
    async with told.running():
        for _ in wait_until("it is refused"):
            if told.reporter.requests_refused:
                break
            await asyncio.sleep(0.02)
        told.states.document(0, b'{"config_version": 9}', NOW_MS)
        await told.until(0, lambda one: one.config_version == 9)
    assert told.reporter.requests_refused == 1
    assert told.reporter.behind == ""


async def test_leaving_does_not_wait_for_a_registry_that_is_away(told):
    await asyncio.to_thread(told.registry.kill)
    async with told.running():
        for _ in wait_until("it noticed"):
            if "UNAVAILABLE" in told.reporter.problem:
                break
            await asyncio.sleep(0.02)
    await asyncio.to_thread(told.registry.start)
