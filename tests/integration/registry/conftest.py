"""One registry per test module, with a few device types, and its stubs."""

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest

from cityfleet.registry.v1 import device_type_pb2
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_type_pb2_grpc import DeviceTypeServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from tests.support.registry import RunningRegistry, running_registry


@dataclass
class Stubs:
    """The registry's services on one channel."""

    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.metrics = MetricServiceStub(self.channel)
        self.types = DeviceTypeServiceStub(self.channel)
        self.devices = DeviceServiceStub(self.channel)
        self.index = DeviceIndexServiceStub(self.channel)

    def apply_type(self, name: str, **fields: object) -> device_type_pb2.ApplyDeviceTypeResponse:
        kind = device_type_pb2.DeviceType(name=f"deviceTypes/{name}", **fields)
        return self.types.ApplyDeviceType(device_type_pb2.ApplyDeviceTypeRequest(device_type=kind))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def stubs(registry: RunningRegistry) -> Iterator[Stubs]:
    with registry.channel() as channel:
        stubs = Stubs(channel)
        stubs.apply_type("gateway", is_gateway=True)
        stubs.apply_type("gauge", metrics=[{"metric": "water_level_m", "min_value": -5, "max_value": 20}])
        yield stubs
