"""The registry as the commands see it: its typed stubs on one channel, which says who is calling."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.longrunning import operations_pb2_grpc

from cityfleet.registry.v1.access_pb2_grpc import AccessServiceStub, AuditServiceStub
from cityfleet.registry.v1.device_pb2_grpc import DeviceServiceStub
from cityfleet.registry.v1.device_type_pb2_grpc import DeviceTypeServiceStub
from cityfleet.registry.v1.group_pb2_grpc import GroupServiceStub
from cityfleet.registry.v1.metric_pb2_grpc import MetricServiceStub
from cityfleet.registry.v1.operator_pb2_grpc import OperatorServiceStub
from cityfleet.registry.v1.site_pb2_grpc import SiteServiceStub, WardServiceStub
from cli.contexts import chosen_context, read_secret
from cli.settings import load_settings
from runtime import runfile
from runtime.bearer import bearer_channel
from runtime.secrets import existing_secret

RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        metavar="HOST:PORT",
        help="Registry to talk to. Default: the context's, else the one on the data folder, else `registry.listen`.",
    ),
]
# Deadline of every call but streams.
CALL_S = 30.0
# The token of the deployment's first administrator, made by the registry in its data folder.
ADMIN_SECRET = "registry-admin"  # noqa: S105 - a file name


class RegistryClient:
    """The registry's services on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.metrics = MetricServiceStub(channel)
        self.types = DeviceTypeServiceStub(channel)
        self.devices = DeviceServiceStub(channel)
        self.sites = SiteServiceStub(channel)
        self.wards = WardServiceStub(channel)
        self.groups = GroupServiceStub(channel)
        self.access = AccessServiceStub(channel)
        self.audit = AuditServiceStub(channel)
        self.operators = OperatorServiceStub(channel)
        self.operations = operations_pb2_grpc.OperationsStub(channel)


@contextmanager
def connect(address: str, config: Path | None, data: Path | None) -> Iterator[RegistryClient]:
    """Open a channel; `address` is HOST:PORT, empty for the one that the context or the settings lead to.

    Raises: CommandError for a context that is not there, or a token that cannot be read.
    """
    target, token = endpoint(address, config, data, os.environ)
    options = [("grpc.max_receive_message_length", 64 << 20)]
    with bearer_channel(target, token, options) as channel:
        yield RegistryClient(channel)


def address_of(address: str, config: Path | None, data: Path | None) -> str:
    """HOST:PORT that `connect` goes to."""
    return endpoint(address, config, data, os.environ)[0]


def endpoint(address: str, config: Path | None, data: Path | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """The registry's HOST:PORT and the caller's token, empty if he has none.

    The token: CITYFLEET_TOKEN_FILE, else the context's, else the administrator's on the data folder. That one goes
    only to the registry of that folder or where --data is given beside --registry, never to an address alone.
    """
    token_file = environ.get("CITYFLEET_TOKEN_FILE", "")
    # What is named on the command line comes before any context.
    context = None if address else chosen_context(config, data, environ)
    if context is not None and context.registry:
        target, folder = context.registry, None
    else:
        settings = load_settings(config, data)
        folder = None if address and not (data or environ.get("CITYFLEET_DATA_DIR")) else settings.data_path
        target = address or _running_address(settings.data_path)
        target = target or f"{settings.registry.listen.host}:{settings.registry.listen.port}"
    if token_file or (context is not None and context.token_file):
        return target, read_secret(Path(token_file or (context.token_file if context else "")).expanduser(), "token")
    return target, existing_secret(folder, ADMIN_SECRET) if folder is not None else ""


def _running_address(data_path: Path) -> str:
    running = runfile.read(data_path, "registry")
    return running.addresses.get("grpc", "") if running is not None else ""
