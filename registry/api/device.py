"""DeviceService, but for the import (api/device_import.py)."""

from collections.abc import AsyncIterator, Sequence

from google.longrunning import operations_pb2 as lro
from sqlalchemy import Connection

from cityfleet.registry.v1 import device_pb2 as pb
from cityfleet.registry.v1 import device_pb2_grpc
from registry.api import bulk, device_export, device_import
from registry.api.batch import MAX_BATCH, check_batch, check_part
from registry.api.call import Call, called
from registry.api.device_message import change_of, message, shown, spec_of
from registry.api.names import created_id, id_of, optional_timestamp, timestamp
from registry.api.paging import page_of
from registry.api.read_mask import ReadMask
from registry.api.watch import Watchers
from registry.db import sequence
from registry.devices import fleet, lifecycle, listing, placements
from registry.devices.model import Placement
from registry.errors import InvalidError, Violation
from registry.filter.fields import DEVICES
from registry.filter.order import group_keys_of, key_kinds, order_of
from registry.operations.attended import AttendedOperations
from registry.operations.runner import Runner
from registry.state.described import Described, describe, describe_devices, described

MAX_PAGE = 5000
# With a document each, so that the answer is what clients take without being told to (4 MiB).
MAX_FULL_PAGE = 200
DEFAULT_GROUPS, MAX_GROUPS = 1000, 10_000


class DeviceServicer(device_pb2_grpc.DeviceServiceServicer):
    def __init__(self, runner: Runner, attended: AttendedOperations) -> None:
        self._runner = runner
        self._attended = attended
        self._watchers = Watchers()

    @called
    async def CreateDevice(self, request: pb.CreateDeviceRequest, call: Call) -> pb.CreateDeviceResponse:
        device_id = created_id(request.device_id, request.device.name, "devices", "device_id")
        spec = spec_of(device_id, request.device)
        answer = _would_be_created if request.validate_only else created_message
        return await call.change(answer, fleet.create_device, spec, request.token)

    @called
    async def GetDevice(self, request: pb.GetDeviceRequest, call: Call) -> pb.Device:
        mask = ReadMask(request.read_mask, pb.Device.DESCRIPTOR)
        with_document = request.view != pb.DEVICE_VIEW_BASIC
        (found,) = await call.ask(describe_devices, [id_of(request.name, "devices")], with_document)
        return mask.applied(shown(found))

    @called
    async def ListDevices(self, request: pb.ListDevicesRequest, call: Call) -> pb.ListDevicesResponse:
        is_full = request.view == pb.DEVICE_VIEW_FULL
        page, order = page_of(request, MAX_FULL_PAGE if is_full else MAX_PAGE), order_of(request.order_by, DEVICES)
        mask = ReadMask(request.read_mask, pb.Device.DESCRIPTOR)
        after = page.after_of(key_kinds(order))

        def answer(connection: Connection) -> pb.ListDevicesResponse:
            found = listing.list_devices(
                connection,
                request.filter,
                order,
                after,
                page.limit,
                page.now_ms,
                request.show_deleted,
                with_documents=is_full,
            )
            token = page.token_after(found.last_key) if found.last_key else ""
            devices = [mask.applied(shown(device)) for device in found.devices]
            return pb.ListDevicesResponse(devices=devices, next_page_token=token)

        # Made there too: thousands of devices would hold up all other calls.
        return await call.read(answer)

    @called
    async def AggregateDevices(self, request: pb.AggregateDevicesRequest, call: Call) -> pb.AggregateDevicesResponse:
        if request.max_groups < 0:
            raise InvalidError([Violation("max_groups", "MAX_GROUPS_NEGATIVE", "0 for the default, or more")])
        keys, limit = group_keys_of(request.group_by), min(request.max_groups or DEFAULT_GROUPS, MAX_GROUPS)
        counts = await call.read(listing.count_devices, request.filter, keys, limit, sequence.now_ms())
        answer = pb.AggregateDevicesResponse(total_devices=counts.total_devices, total_groups=counts.total_groups)
        for values, devices in counts.groups:
            answer.groups.add(values=values, devices=devices)
        return answer

    @called
    async def WatchDevices(self, request: pb.WatchDevicesRequest, call: Call) -> AsyncIterator[pb.WatchDevicesResponse]:
        async for response in self._watchers.serve(request, call):
            yield response

    @called
    async def UpdateDevice(self, request: pb.UpdateDeviceRequest, call: Call) -> pb.Device:
        return await call.change(shown, described(fleet.update_device), change_of(request))

    @called
    async def DecommissionDevice(self, request: pb.DecommissionDeviceRequest, call: Call) -> pb.Device:
        device_id = id_of(request.name, "devices")
        return await call.change(shown, described(lifecycle.decommission_device), device_id, request.etag)

    @called
    async def DeleteDevice(self, request: pb.DeleteDeviceRequest, call: Call) -> pb.Device:
        device_id = id_of(request.name, "devices")
        return await call.change(shown, described(lifecycle.delete_device), device_id, request.etag)

    @called
    async def UndeleteDevice(self, request: pb.UndeleteDeviceRequest, call: Call) -> pb.Device:
        return await call.change(shown, described(lifecycle.undelete_device), id_of(request.name, "devices"))

    @called
    async def BatchGetDevices(self, request: pb.BatchGetDevicesRequest, call: Call) -> pb.BatchGetDevicesResponse:
        is_full = request.view == pb.DEVICE_VIEW_FULL
        check_batch("names", len(request.names), MAX_FULL_PAGE if is_full else MAX_BATCH)
        device_ids = [id_of(name, "devices", f"names[{at}]") for at, name in enumerate(request.names)]

        def answer(connection: Connection) -> pb.BatchGetDevicesResponse:
            found = describe_devices(connection, device_ids, is_full, allow_missing=request.allow_missing)
            return pb.BatchGetDevicesResponse(devices=[shown(device) for device in found])

        return await call.read(answer)

    @called
    async def BatchCreateDevices(
        self, request: pb.BatchCreateDevicesRequest, call: Call
    ) -> pb.BatchCreateDevicesResponse:
        check_batch("requests", len(request.requests))
        wanted = []
        for at, each in enumerate(request.requests):
            check_part(f"requests[{at}]", each)
            device_id = created_id(each.device_id, each.device.name, "devices", "device_id")
            wanted.append(fleet.Creation(spec_of(device_id, each.device), each.token))
        one = _would_be_created if request.validate_only else created_message

        def answer(created: list[fleet.Created]) -> pb.BatchCreateDevicesResponse:
            return pb.BatchCreateDevicesResponse(created=[one(each) for each in created])

        return await call.change(answer, fleet.create_devices, wanted)

    @called
    async def BatchUpdateDevices(
        self, request: pb.BatchUpdateDevicesRequest, call: Call
    ) -> pb.BatchUpdateDevicesResponse:
        check_batch("requests", len(request.requests))
        for at, each in enumerate(request.requests):
            check_part(f"requests[{at}]", each)
        changes = [change_of(each) for each in request.requests]
        return await call.change(_updated, _update_devices, changes)

    @called
    async def BatchDeleteDevices(
        self, request: pb.BatchDeleteDevicesRequest, call: Call
    ) -> pb.BatchDeleteDevicesResponse:
        check_batch("requests", len(request.requests))
        wanted = []
        for at, each in enumerate(request.requests):
            check_part(f"requests[{at}]", each)
            wanted.append(lifecycle.Deletion(id_of(each.name, "devices", f"requests[{at}].name"), each.etag))

        def answer(devices: list[Described]) -> pb.BatchDeleteDevicesResponse:
            return pb.BatchDeleteDevicesResponse(devices=[shown(device) for device in devices])

        return await call.change(answer, _delete_devices, wanted, request.allow_missing)

    @called
    async def ListDevicePlacements(
        self, request: pb.ListDevicePlacementsRequest, call: Call
    ) -> pb.ListDevicePlacementsResponse:
        page, device_id = page_of(request, MAX_PAGE), id_of(request.parent, "devices", "parent")
        found = await call.read(_placements, device_id, page.after_number(), page.limit + 1)
        token = page.token_after((found[page.limit - 1][0],)) if len(found) > page.limit else ""
        shown = [_placement(placement) for _, placement in found[: page.limit]]
        return pb.ListDevicePlacementsResponse(placements=shown, next_page_token=token)

    @called
    async def BulkUpdateDevices(self, request: pb.BulkUpdateDevicesRequest, call: Call) -> lro.Operation:
        return await bulk.update_devices(request, call, self._runner)

    @called
    async def BulkDeleteDevices(self, request: pb.BulkDeleteDevicesRequest, call: Call) -> lro.Operation:
        return await bulk.end_devices(request, call, self._runner)

    @called
    async def ExportDevices(
        self, request: pb.ExportDevicesRequest, call: Call
    ) -> AsyncIterator[pb.ExportDevicesResponse]:
        async for response in device_export.serve(request, call, self._attended):
            yield response

    @called
    async def RotateDeviceToken(self, request: pb.RotateDeviceTokenRequest, call: Call) -> pb.RotateDeviceTokenResponse:
        device_id = id_of(request.name, "devices")
        return await call.change(_rotated, _rotate_token, device_id, request.token, request.keep_previous)

    @called
    async def ImportDevices(
        self, requests: AsyncIterator[pb.ImportDevicesRequest], call: Call
    ) -> AsyncIterator[pb.ImportDevicesResponse]:
        async for response in device_import.serve(requests, call, self._attended):
            yield response


def created_message(created: fleet.Created) -> pb.CreateDeviceResponse:
    answer = pb.CreateDeviceResponse(device=message(created.device), token=created.token)
    answer.device.connectivity, answer.device.health = pb.CONNECTIVITY_NEVER_SEEN, pb.HEALTH_UNKNOWN
    return answer


def _would_be_created(created: fleet.Created) -> pb.CreateDeviceResponse:
    """Without what only a created device has."""
    answer = created_message(created)
    answer.token = ""
    for field in ("device_num", "etag"):
        answer.device.ClearField(field)
    return answer


def _update_devices(connection: Connection, changes: Sequence[fleet.Change]) -> list[Described]:
    return describe(connection, fleet.update_devices(connection, changes), sequence.now_ms())


def _updated(devices: list[Described]) -> pb.BatchUpdateDevicesResponse:
    return pb.BatchUpdateDevicesResponse(devices=[shown(device) for device in devices])


def _delete_devices(
    connection: Connection, wanted: Sequence[lifecycle.Deletion], allow_missing: bool
) -> list[Described]:
    deleted = lifecycle.delete_devices(connection, wanted, allow_missing=allow_missing)
    return describe(connection, deleted, sequence.now_ms())


def _rotate_token(connection: Connection, device_id: str, token: str, keep_previous: bool) -> tuple[Described, str]:
    rotated = fleet.rotate_token(connection, device_id, token, keep_previous)
    return describe(connection, [rotated.device], sequence.now_ms(), with_documents=True)[0], rotated.token


def _rotated(rotated: tuple[Described, str]) -> pb.RotateDeviceTokenResponse:
    return pb.RotateDeviceTokenResponse(device=shown(rotated[0]), token=rotated[1])


def _placements(
    connection: Connection, device_id: str, before_revision: int, limit: int
) -> list[tuple[int, Placement]]:
    return placements.list_placements(connection, fleet.get_device(connection, device_id), before_revision, limit)


def _placement(placement: Placement) -> pb.DevicePlacement:
    return pb.DevicePlacement(
        start_time=timestamp(placement.start_time_ms),
        end_time=optional_timestamp(placement.end_time_ms),
        gateway=placement.gateway,
        site_id=placement.site_id,
        ward_code=placement.ward_code,
        latitude=placement.latitude,
        longitude=placement.longitude,
    )
