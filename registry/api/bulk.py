"""BulkUpdateDevices and BulkDeleteDevices: what is asked for, as an operation."""

from google.longrunning import operations_pb2 as lro
from sqlalchemy import Connection

from cityfleet.registry.v1 import device_pb2 as pb
from registry.access.caller import acting_within
from registry.access.later import scope_now
from registry.api.call import Call
from registry.api.device_message import spec_of
from registry.api.masks import masked
from registry.api.operations import message
from registry.audit.log import recorded
from registry.devices import bulk, fleet
from registry.devices.bulk import Action, Asked, End, Update, What
from registry.errors import InvalidError, Violation
from registry.operations.model import Operation, Step
from registry.operations.runner import Runner, Work

# It is kept with the operation. More than any filter with all the fields of a device.
MAX_REQUEST_BYTES = 256 << 10
_ACTIONS = {
    pb.BulkDeleteDevicesRequest.ACTION_DECOMMISSION: Action.DECOMMISSION,
    pb.BulkDeleteDevicesRequest.ACTION_DELETE: Action.DELETE,
    pb.BulkDeleteDevicesRequest.ACTION_UNDELETE: Action.UNDELETE,
    pb.BulkDeleteDevicesRequest.ACTION_PURGE: Action.PURGE,
}


async def update_devices(request: pb.BulkUpdateDevicesRequest, call: Call, runner: Runner) -> lro.Operation:
    """Raises: InvalidError, PreconditionError."""
    given = request.device
    if given.name or given.etag:
        field = "device.name" if given.name else "device.etag"
        raise InvalidError([Violation(field, "NOT_BY_FILTER", "the filter says which devices; leave it empty")])
    fields, label_keys = masked(given, request.update_mask.paths, fleet.UPDATABLE)
    change = fleet.Change(spec_of("", given), fields, label_keys)
    return await _begin(request, Update(change), call, runner)


async def end_devices(request: pb.BulkDeleteDevicesRequest, call: Call, runner: Runner) -> lro.Operation:
    """Raises: InvalidError, PreconditionError."""
    action = _ACTIONS.get(request.action)
    if action is None:
        known = ", ".join(pb.BulkDeleteDevicesRequest.Action.Name(number) for number in _ACTIONS)
        raise InvalidError([Violation("action", "ACTION_UNKNOWN", f"one of {known}")])
    return await _begin(request, End(action), call, runner)


async def _begin(
    request: pb.BulkUpdateDevicesRequest | pb.BulkDeleteDevicesRequest, what: What, call: Call, runner: Runner
) -> lro.Operation:
    serialized = request.SerializeToString()
    if len(serialized) > MAX_REQUEST_BYTES:
        text = f"at most {MAX_REQUEST_BYTES} bytes, not {len(serialized)}; send only what is to be set"
        raise InvalidError([Violation("", "REQUEST_TOO_LARGE", text)])
    asked = Asked(call.origin, serialized, request.filter, request.validate_only, request.expected_count)
    if request.validate_only:
        # The operation is real; what it does is rolled back, chunk by chunk.
        begun = message(await call.write(bulk.begin, asked, what))
    else:
        begun = await call.change(message, bulk.begin, asked, what)
    runner.wake()
    return begun


def _work(kind: type[pb.BulkUpdateDevicesRequest | pb.BulkDeleteDevicesRequest]) -> Work:
    """Chunk by chunk, with the rights that its account has by then; for the audit as the call that began it."""

    def work(connection: Connection, operation: Operation) -> Step:
        order = bulk.order_of(operation)
        message = kind.FromString(order.asked.message)
        with acting_within(scope_now(connection, operation.actor, operation.method, message)):
            return recorded(connection, order.asked.origin, bulk.do_chunk, operation, order)

    return work


_PREFIX = "cityfleet.registry.v1.DeviceService/"
WORKS = {
    f"{_PREFIX}BulkUpdateDevices": _work(pb.BulkUpdateDevicesRequest),
    f"{_PREFIX}BulkDeleteDevices": _work(pb.BulkDeleteDevicesRequest),
}
