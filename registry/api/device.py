"""DeviceService, but for the import (api/device_import.py)."""

from collections.abc import AsyncIterator

import grpc

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_pb2_grpc
from registry.api import device_import
from registry.api.names import created_id, id_of, timestamp
from registry.api.paging import next_token, page_limit, page_start
from registry.api.status import answering
from registry.db import devices as db
from registry.db.engine import Database
from registry.devices import fleet
from registry.devices.catalogue import etag
from registry.devices.filter import parse_filter
from registry.devices.model import Device, DeviceSpec
from registry.errors import InvalidError, Violation

MAX_PAGE = 5000


class DeviceServicer(device_pb2_grpc.DeviceServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    @answering
    async def CreateDevice(
        self, request: pb.CreateDeviceRequest, context: grpc.aio.ServicerContext
    ) -> pb.CreateDeviceResponse:
        device_id = created_id(request.device_id, request.device.name, "devices", "device_id")
        created = await self._database.write(
            fleet.create_device, spec_of(device_id, request.device), request.token, request.validate_only
        )
        return pb.CreateDeviceResponse(device=message(created.device), token=created.token)

    @answering
    async def GetDevice(self, request: pb.GetDeviceRequest, context: grpc.aio.ServicerContext) -> pb.Device:
        return message(await self._database.read(fleet.get_device, id_of(request.name, "devices")))

    @answering
    async def ListDevices(
        self, request: pb.ListDevicesRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListDevicesResponse:
        limit, filters = page_limit(request.page_size, MAX_PAGE), parse_filter(request.filter)
        start = page_start(request.page_token, request.filter)
        page = await self._database.read(db.list_devices, filters, start, limit + 1)
        token = next_token(page[limit - 1].device_num, request.filter) if len(page) > limit else ""
        return pb.ListDevicesResponse(devices=[message(device) for device in page[:limit]], next_page_token=token)

    @answering
    async def UpdateDevice(self, request: pb.UpdateDeviceRequest, context: grpc.aio.ServicerContext) -> pb.Device:
        given = request.device
        device_id = id_of(given.name, "devices", "device.name")
        fields, label_keys = _updated(given, list(request.update_mask.paths))
        return message(
            await self._database.write(fleet.update_device, spec_of(device_id, given), fields, label_keys, given.etag)
        )

    @answering
    async def DecommissionDevice(
        self, request: pb.DecommissionDeviceRequest, context: grpc.aio.ServicerContext
    ) -> pb.Device:
        device_id = id_of(request.name, "devices")
        return message(await self._database.write(fleet.decommission_device, device_id, request.etag))

    @answering
    async def RotateDeviceToken(
        self, request: pb.RotateDeviceTokenRequest, context: grpc.aio.ServicerContext
    ) -> pb.RotateDeviceTokenResponse:
        device_id = id_of(request.name, "devices")
        rotated = await self._database.write(fleet.rotate_token, device_id, request.token, request.keep_previous)
        return pb.RotateDeviceTokenResponse(device=message(rotated.device), token=rotated.token)

    async def ImportDevices(
        self, requests: AsyncIterator[pb.ImportDevicesRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ImportDevicesResponse]:
        async for response in device_import.serve(self._database, requests, context):
            yield response


def spec_of(device_id: str, given: pb.Device) -> DeviceSpec:
    return DeviceSpec(
        device_id=device_id,
        device_type=given.device_type,
        display_name=given.display_name,
        gateway=given.gateway,
        ward_code=given.ward_code,
        site=given.site,
        latitude=given.latitude if given.HasField("latitude") else None,
        longitude=given.longitude if given.HasField("longitude") else None,
        labels=dict(given.labels),
        external_id=given.external_id,
    )


def message(device: Device) -> pb.Device:
    spec = device.spec
    return pb.Device(
        name=f"devices/{spec.device_id}",
        device_num=device.device_num,
        display_name=spec.display_name,
        device_type=spec.device_type,
        gateway=spec.gateway,
        ward_code=spec.ward_code,
        site=spec.site,
        latitude=spec.latitude,
        longitude=spec.longitude,
        labels=spec.labels,
        external_id=spec.external_id,
        state=pb.Device.State.ValueType(device.state),
        etag=etag(device.revision) if device.revision else "",
        create_time=timestamp(device.create_time_ms),
        update_time=timestamp(device.update_time_ms),
    )


def _updated(given: pb.Device, paths: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The fields and single labels that an update mask names. Raises: InvalidError."""
    if not paths:
        set_fields = {field.name for field, _ in given.ListFields()}
        return frozenset(set_fields & set(fleet.UPDATABLE)), frozenset()
    if "*" in paths:
        return frozenset(fleet.UPDATABLE), frozenset()
    label_keys = frozenset(path.removeprefix("labels.") for path in paths if path.startswith("labels."))
    fields = frozenset(path for path in paths if not path.startswith("labels."))
    if unknown := fields - set(fleet.UPDATABLE):
        text = (
            f"`{min(unknown)}` cannot be updated; fields are {', '.join(fleet.UPDATABLE)}, labels.KEY, * for all; "
            "the state changes by DecommissionDevice"
        )
        raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
    return fields, label_keys
