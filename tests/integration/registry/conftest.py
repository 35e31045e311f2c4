"""One registry per test module and database, with a few device types, and its stubs.

A module that is not about what the registry holds overrides `database_kind` to run on SQLite alone.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import pytest

from cityfleet.registry.v1 import device_type_pb2
from cityfleet.registry.v1.device_index_pb2_grpc import DeviceIndexServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_type_pb2_grpc import DeviceTypeServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from tests.support.postgresql import binaries, create_database, running_postgresql
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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server without a database's name."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgresql() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def new_database(database_kind: str, request: pytest.FixtureRequest) -> Callable[[], dict[str, str]]:
    """Makes an empty database; gives the settings of a registry on it: `running_registry(tmp_path, new_database())`."""

    def make() -> dict[str, str]:
        if database_kind == "sqlite":
            return {}  # a file in the registry's data folder
        url = create_database(request.getfixturevalue("postgresql"), f"registry_{next(_numbers)}")
        return {"CITYFLEET_REGISTRY__DATABASE_URL": url}

    return make


@pytest.fixture(scope="module")
def registry(
    tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[], dict[str, str]]
) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry"), new_database()) as running:
        yield running


@pytest.fixture(scope="module")
def stubs(registry: RunningRegistry) -> Iterator[Stubs]:
    with registry.channel() as channel:
        stubs = Stubs(channel)
        stubs.apply_type("gateway", is_gateway=True)
        stubs.apply_type("gauge", metrics=[{"metric": "water_level_m", "min_value": -5, "max_value": 20}])
        yield stubs
