"""DeviceService, but for the import (api/device_import.py)."""

from collections.abc import AsyncIterator

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_pb2_grpc
from registry.api import device_import
from registry.api.call import Call, called
from registry.api.device_state import fill
from registry.api.names import created_id, id_of, timestamp
from registry.api.paging import next_token, page_limit, page_start
from registry.db import devices as db
from registry.db import sequence
from registry.devices import fleet
from registry.devices.catalogue import etag
from registry.devices.filter import parse_filter
from registry.devices.model import Device, DeviceSpec
from registry.errors import InvalidError, Violation
from registry.state.described import Described, describe_device

MAX_PAGE = 5000


class DeviceServicer(device_pb2_grpc.DeviceServiceServicer):
    @called
    async def CreateDevice(self, request: pb.CreateDeviceRequest, call: Call) -> pb.CreateDeviceResponse:
        device_id = created_id(request.device_id, request.device.name, "devices", "device_id")
        spec = spec_of(device_id, request.device)
        return await call.change(_created, fleet.create_device, spec, request.token, request.validate_only)

    @called
    async def GetDevice(self, request: pb.GetDeviceRequest, call: Call) -> pb.Device:
        now_ms, with_document = sequence.now_ms(), request.view != pb.DEVICE_VIEW_BASIC
        found = await call.read(describe_device, id_of(request.name, "devices"), now_ms, with_document)
        return shown(found, now_ms)

    @called
    async def ListDevices(self, request: pb.ListDevicesRequest, call: Call) -> pb.ListDevicesResponse:
        limit, filters = page_limit(request.page_size, MAX_PAGE), parse_filter(request.filter)
        start = page_start(request.page_token, request.filter)
        page = await call.read(db.list_devices, filters, start, limit + 1)
        token = next_token(page[limit - 1].device_num, request.filter) if len(page) > limit else ""
        return pb.ListDevicesResponse(devices=[message(device) for device in page[:limit]], next_page_token=token)

    @called
    async def UpdateDevice(self, request: pb.UpdateDeviceRequest, call: Call) -> pb.Device:
        given = request.device
        device_id = id_of(given.name, "devices", "device.name")
        fields, label_keys = _updated(given, list(request.update_mask.paths))
        spec = spec_of(device_id, given)
        return await call.change(message, fleet.update_device, spec, fields, label_keys, given.etag)

    @called
    async def DecommissionDevice(self, request: pb.DecommissionDeviceRequest, call: Call) -> pb.Device:
        device_id = id_of(request.name, "devices")
        return await call.change(message, fleet.decommission_device, device_id, request.etag)

    @called
    async def RotateDeviceToken(self, request: pb.RotateDeviceTokenRequest, call: Call) -> pb.RotateDeviceTokenResponse:
        device_id = id_of(request.name, "devices")
        return await call.change(_rotated, fleet.rotate_token, device_id, request.token, request.keep_previous)

    @called
    async def ImportDevices(
        self, requests: AsyncIterator[pb.ImportDevicesRequest], call: Call
    ) -> AsyncIterator[pb.ImportDevicesResponse]:
        async for response in device_import.serve(requests, call):
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


def shown(described: Described, now_ms: int) -> pb.Device:
    """A device with what it is like now."""
    device = message(described.device)
    fill(device, described.known, now_ms, described.document)
    return device


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


def _created(created: fleet.Created) -> pb.CreateDeviceResponse:
    return pb.CreateDeviceResponse(device=message(created.device), token=created.token)


def _rotated(rotated: fleet.Created) -> pb.RotateDeviceTokenResponse:
    return pb.RotateDeviceTokenResponse(device=message(rotated.device), token=rotated.token)


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
