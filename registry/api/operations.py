"""google.longrunning.Operations over what registry.operations keeps (AIP-151)."""

from google.longrunning import operations_pb2 as lro
from google.longrunning import operations_pb2_grpc as lro_grpc
from google.protobuf import empty_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from cityfleet.registry.v1 import device_pb2 as pb
from registry.access.caller import Role
from registry.api.call import Call, called
from registry.api.names import id_of, timestamp
from registry.api.paging import page_of
from registry.api.status import DOMAIN, code_named
from registry.db import operations as db
from registry.errors import InvalidError, Violation
from registry.operations import rules
from registry.operations.attended import AttendedOperations
from registry.operations.model import Operation
from registry.operations.runner import Runner

# Each is read with its failures.
MAX_PAGE = 100
DEFAULT_WAIT_S = 30.0
MAX_WAIT_S = 600.0
_DONE_FILTERS = {"": None, "done = true": True, "done = false": False, "done=true": True, "done=false": False}


class OperationsServicer(lro_grpc.OperationsServicer):  # type: ignore[misc]
    def __init__(self, runner: Runner, attended: AttendedOperations) -> None:
        self._runner = runner
        self._attended = attended

    @called
    async def GetOperation(self, request: lro.GetOperationRequest, call: Call) -> lro.Operation:
        return message(await call.read(rules.get, id_of(request.name, "operations"), _owner(call)))

    @called
    async def ListOperations(self, request: lro.ListOperationsRequest, call: Call) -> lro.ListOperationsResponse:
        """The newest first, without their failures; `filter` is empty, `done = true` or `done = false`."""
        if (is_done := _DONE_FILTERS.get(request.filter.strip(), request)) is request:
            text = "`done = true`, `done = false` or nothing"
            raise InvalidError([Violation("filter", "FILTER_UNSUPPORTED", text)])
        page = page_of(request, MAX_PAGE)
        after, limit = page.after_number(), page.limit
        found = await call.read(db.list_operations, after, limit + 1, is_done=is_done, actor=_owner(call))
        token = page.token_after((found[limit - 1].operation_num,)) if len(found) > limit else ""
        listed = [message(one, with_failures=False) for one in found[:limit]]
        return lro.ListOperationsResponse(operations=listed, next_page_token=token)

    @called
    async def WaitOperation(self, request: lro.WaitOperationRequest, call: Call) -> lro.Operation:
        """Returns when it has ended, or after `timeout` (default 30 s, at most 10 min) as it is then."""
        operation_id = id_of(request.name, "operations")
        await call.read(rules.get, operation_id, _owner(call))
        timeout_s = request.timeout.ToNanoseconds() / 1e9 if request.HasField("timeout") else DEFAULT_WAIT_S
        return message(await self._runner.wait(operation_id, min(timeout_s, MAX_WAIT_S)))

    @called
    async def CancelOperation(self, request: lro.CancelOperationRequest, call: Call) -> empty_pb2.Empty:
        answer = await call.change(_nothing, rules.cancel, id_of(request.name, "operations"), _owner(call))
        self._attended.wake()
        return answer

    @called
    async def DeleteOperation(self, request: lro.DeleteOperationRequest, call: Call) -> empty_pb2.Empty:
        return await call.change(_nothing, rules.delete, id_of(request.name, "operations"), _owner(call))


def _owner(call: Call) -> str:
    """Whose operations the caller may see: his own, or as an administrator of everything all; what he may not is not
    there."""
    return "" if call.caller.scope_of(Role.ADMIN).is_everything else call.caller.actor


def message(operation: Operation, *, with_failures: bool = True) -> lro.Operation:
    """Args: with_failures: those of a whole list would be too much for one answer."""
    found = lro.Operation(name=f"operations/{operation.operation_id}", done=operation.is_done)
    metadata = _metadata(operation)
    if not with_failures:
        metadata.ClearField("failures")
    found.metadata.Pack(metadata)
    if operation.ending is not None:
        ending = operation.ending
        found.error.CopyFrom(_status(code_named(ending.error), ending.reason, ending.message))
    elif operation.is_done:
        found.response.Pack(pb.BulkDevicesResponse(result=metadata))
    return found


def _metadata(operation: Operation) -> pb.BulkMetadata:
    progress = operation.progress
    return pb.BulkMetadata(
        method=operation.method,
        actor=operation.actor,
        start_time=timestamp(operation.create_time_ms),
        end_time=timestamp(operation.update_time_ms) if operation.is_done else None,
        total=progress.total,
        processed=progress.processed,
        succeeded=progress.succeeded,
        created=progress.created,
        unchanged=progress.unchanged,
        failed=progress.failed,
        is_cancel_requested=operation.is_cancel_requested,
        failures=[
            pb.BulkFailure(
                name=failure.name,
                row=failure.row,
                status=_status(code_named(failure.error), failure.reason, failure.message),
            )
            for failure in progress.failures
        ],
    )


def _status(code: StatusCode, reason: str, text: str) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain=DOMAIN, reason=reason))
    return status


def _nothing(_: None) -> empty_pb2.Empty:
    return empty_pb2.Empty()
