"""OperatorService."""

from cityfleet.registry.v1 import operator_pb2 as pb
from cityfleet.registry.v1 import operator_pb2_grpc
from registry.api.call import Call, called
from registry.api.names import created_id, id_of, timestamp
from registry.api.paging import page_of
from registry.db import operators as db
from registry.devices import operators
from registry.devices.catalogue import etag
from registry.devices.model import Operator, OperatorSpec
from registry.errors import InvalidError, Violation

MAX_PAGE = 1000


class OperatorServicer(operator_pb2_grpc.OperatorServiceServicer):
    @called
    async def CreateOperator(self, request: pb.CreateOperatorRequest, call: Call) -> pb.CreateOperatorResponse:
        operator_id = created_id(request.operator_id, request.operator.name, "operators", "operator_id")
        return await call.change(
            _created, operators.create_operator, _spec(operator_id, request.operator), request.token
        )

    @called
    async def GetOperator(self, request: pb.GetOperatorRequest, call: Call) -> pb.Operator:
        return message(await call.read(operators.get_operator, id_of(request.name, "operators")))

    @called
    async def ListOperators(self, request: pb.ListOperatorsRequest, call: Call) -> pb.ListOperatorsResponse:
        page = page_of(request, MAX_PAGE)
        found = await call.read(db.list_operators, page.after_number(), page.limit + 1)
        token = page.token_after((found[page.limit - 1].operator_num,)) if len(found) > page.limit else ""
        return pb.ListOperatorsResponse(operators=map(message, found[: page.limit]), next_page_token=token)

    @called
    async def UpdateOperator(self, request: pb.UpdateOperatorRequest, call: Call) -> pb.Operator:
        given = request.operator
        operator_id = id_of(given.name, "operators", "operator.name")
        paths = frozenset(request.update_mask.paths) or {field.name for field, _ in given.ListFields()}
        fields = frozenset(operators.UPDATABLE) if "*" in paths else frozenset(paths) & set(operators.UPDATABLE)
        unknown = set(request.update_mask.paths) - {*operators.UPDATABLE, "*"}
        if unknown:
            text = f"`{min(unknown)}` cannot be updated; fields are {', '.join(operators.UPDATABLE)}, * for all"
            raise InvalidError([Violation("update_mask", "FIELD_NOT_UPDATABLE", text)])
        spec = _spec(operator_id, given)
        return await call.change(message, operators.update_operator, spec, fields, given.etag)

    @called
    async def DeleteOperator(self, request: pb.DeleteOperatorRequest, call: Call) -> pb.DeleteOperatorResponse:
        return await call.change(_deleted, operators.delete_operator, id_of(request.name, "operators"))

    @called
    async def RotateOperatorToken(
        self, request: pb.RotateOperatorTokenRequest, call: Call
    ) -> pb.RotateOperatorTokenResponse:
        operator_id = id_of(request.name, "operators")
        return await call.change(_rotated, operators.rotate_token, operator_id, request.token)


def _created(created: operators.Created) -> pb.CreateOperatorResponse:
    return pb.CreateOperatorResponse(operator=message(created.operator), token=created.token)


def _deleted(_: None) -> pb.DeleteOperatorResponse:
    return pb.DeleteOperatorResponse()


def _rotated(rotated: operators.Created) -> pb.RotateOperatorTokenResponse:
    return pb.RotateOperatorTokenResponse(operator=message(rotated.operator), token=rotated.token)


def _spec(operator_id: str, given: pb.Operator) -> OperatorSpec:
    return OperatorSpec(
        operator_id=operator_id,
        display_name=given.display_name,
        subscribe_filters=tuple(given.subscribe_filters),
        publish_filters=tuple(given.publish_filters),
        disabled=given.disabled,
    )


def message(operator: Operator) -> pb.Operator:
    spec = operator.spec
    return pb.Operator(
        name=f"operators/{spec.operator_id}",
        display_name=spec.display_name,
        subscribe_filters=spec.subscribe_filters,
        publish_filters=spec.publish_filters,
        disabled=spec.disabled,
        etag=etag(operator.revision),
        create_time=timestamp(operator.create_time_ms),
        update_time=timestamp(operator.update_time_ms),
    )
