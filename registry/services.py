"""The gRPC services of the registry: one line each. What its methods need is in registry.access.rules."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import grpc
from google.longrunning import operations_pb2
from google.protobuf.descriptor import ServiceDescriptor

from cityfleet.registry.v1 import (
    access_pb2,
    device_index_pb2,
    device_pb2,
    device_state_pb2,
    device_type_pb2,
    group_pb2,
    metric_pb2,
    operator_pb2,
    site_pb2,
)
from registry.api.access import AccessServicer
from registry.api.audit import AuditServicer
from registry.api.device import DeviceServicer
from registry.api.device_index import DeviceIndexServicer
from registry.api.device_state import DeviceStateServicer
from registry.api.device_type import DeviceTypeServicer
from registry.api.group import GroupServicer
from registry.api.metric import MetricServicer
from registry.api.operations import OperationsServicer
from registry.api.operator import OperatorServicer
from registry.api.site import SiteServicer
from registry.api.ward import WardServicer
from registry.db.engine import Database
from registry.operations.attended import AttendedOperations
from registry.operations.runner import Runner


class Parts(NamedTuple):
    """What services are made of."""

    database: Database
    runner: Runner
    attended: AttendedOperations


class ByName:
    """A server that finds every method when it is called.

    For each method that is registered with it, gRPC's own loop waits for a call apart: with some dozens that takes
    longer than the rest of a call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """They are among the generic ones already."""


class Service(NamedTuple):
    """Args: file: the generated module of its .proto. make: its servicer."""

    file: ModuleType
    name: str
    make: Callable[[Parts], Any]

    @property
    def descriptor(self) -> ServiceDescriptor:
        found: ServiceDescriptor = self.file.DESCRIPTOR.services_by_name[self.name]
        return found

    def add_to(self, server: ByName, parts: Parts) -> None:
        generated = importlib.import_module(f"{self.file.__name__}_grpc")
        getattr(generated, f"add_{self.name}Servicer_to_server")(self.make(parts), server)


SERVICES = (
    Service(metric_pb2, "MetricService", lambda _: MetricServicer()),
    Service(device_type_pb2, "DeviceTypeService", lambda _: DeviceTypeServicer()),
    Service(device_pb2, "DeviceService", lambda parts: DeviceServicer(parts.runner, parts.attended)),
    Service(device_index_pb2, "DeviceIndexService", lambda parts: DeviceIndexServicer(parts.database)),
    Service(group_pb2, "GroupService", lambda _: GroupServicer()),
    Service(device_state_pb2, "DeviceStateService", lambda parts: DeviceStateServicer(parts.database)),
    Service(operator_pb2, "OperatorService", lambda _: OperatorServicer()),
    Service(operations_pb2, "Operations", lambda parts: OperationsServicer(parts.runner, parts.attended)),
    Service(site_pb2, "SiteService", lambda _: SiteServicer()),
    Service(site_pb2, "WardService", lambda _: WardServicer()),
    Service(access_pb2, "AccessService", lambda _: AccessServicer()),
    Service(access_pb2, "AuditService", lambda _: AuditServicer()),
)
DESCRIPTORS = tuple(service.descriptor for service in SERVICES)
NAMES = tuple(descriptor.full_name for descriptor in DESCRIPTORS)
