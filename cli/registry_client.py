"""The registry as the commands see it: its typed stubs on one channel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import grpc
import typer

from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_type_pb2_grpc import DeviceTypeServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from cityfleet.registry.v1.operator_pb2_grpc import OperatorServiceStub
from cli.settings import load_settings
from runtime import runfile

RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="HOST:PORT",
        help="Registry to talk to. Default: the one on the data folder, else `registry.listen` of the settings.",
    ),
]
# Deadline of every call but the import.
CALL_S = 30.0


@dataclass(frozen=True)
class RegistryClient:
    metrics: MetricServiceStub
    types: DeviceTypeServiceStub
    devices: DeviceServiceStub
    operators: OperatorServiceStub


@contextmanager
def connect(address: str, config: Path | None, data: Path | None) -> Iterator[RegistryClient]:
    """Open a channel; `address` is HOST:PORT, empty for the one that the settings lead to."""
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with grpc.insecure_channel(address or _default_address(config, data), options=options) as channel:
        yield RegistryClient(
            MetricServiceStub(channel),
            DeviceTypeServiceStub(channel),
            DeviceServiceStub(channel),
            OperatorServiceStub(channel),
        )


def address_of(address: str, config: Path | None, data: Path | None) -> str:
    """HOST:PORT that `connect` goes to."""
    return address or _default_address(config, data)


def _default_address(config: Path | None, data: Path | None) -> str:
    settings = load_settings(config, data)
    running = runfile.read(settings.data_path, "registry")
    if running is not None and "grpc" in running.addresses:
        return running.addresses["grpc"]
    return f"{settings.registry.listen.host}:{settings.registry.listen.port}"
