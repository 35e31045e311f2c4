"""ExportDevices: all devices that match, in the order of their ids, as fast as the client takes them; for others an
operation while it runs."""

from collections.abc import AsyncIterator, Iterator, Sequence

from cityfleet.registry.v1 import device_pb2 as pb
from registry.api.attended import attended
from registry.api.call import Call
from registry.api.device_message import shown
from registry.db import sequence
from registry.devices.exporting import count_for_export, export_page
from registry.errors import InvalidError, Violation
from registry.operations.attended import AttendedOperations
from registry.state.described import Described

CHUNK = 1000
# Of a message: clients take 4 MiB without being told to.
MAX_BYTES = 2 << 20


async def serve(
    request: pb.ExportDevicesRequest, call: Call, operations: AttendedOperations
) -> AsyncIterator[pb.ExportDevicesResponse]:
    """Each response is as of one moment, the filter's times as of the beginning. A device that is there all the while
    comes once.

    Raises: InvalidError.
    """
    now_ms, after_id = sequence.now_ms(), request.resume_after
    if "\0" in after_id:
        raise InvalidError([Violation("resume_after", "DEVICE_ID_INVALID", "the id of the last device that came")])
    total = await call.read(count_for_export, request.filter, now_ms, request.show_deleted)
    with_documents = request.view == pb.DEVICE_VIEW_FULL
    told: dict[str, object] = {"filter": request.filter, "matching": total}
    # Of one that goes on, how many are left nobody has counted.
    async with attended(operations, call, "export", 0 if after_id else total, told, is_read=True) as operation:
        yield pb.ExportDevicesResponse(total_devices=total, operation=operation.name)
        is_last = False
        while not is_last:
            operation.check()
            found = await call.read(
                export_page, request.filter, after_id, CHUNK, now_ms, request.show_deleted, with_documents
            )
            is_last = len(found) < CHUNK
            for part in _parts(found) if found else ():
                yield part
                sent = len(part.devices)
                operation.advance(operation.progress.plus(succeeded=sent, unchanged=0, failures=()))
            after_id = found[-1].device.spec.device_id if found else ""


def _parts(found: Sequence[Described]) -> Iterator[pb.ExportDevicesResponse]:
    part, size = pb.ExportDevicesResponse(), 0
    for one in found:
        device = shown(one)
        size += device.ByteSize()
        if part.devices and size > MAX_BYTES:
            yield part
            part, size = pb.ExportDevicesResponse(), device.ByteSize()
        part.devices.append(device)
    yield part
