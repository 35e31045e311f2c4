"""Operations through gRPC, on both databases: what is looked up, waited for, cancelled, deleted and refused."""

import pytest
from google.longrunning import operations_pb2 as lro
from google.longrunning.operations_pb2_grpc import OperationsStub
from grpc import StatusCode

from tests.support.status import fails


@pytest.fixture
def operations(registry):
    with registry.channel() as channel:
        yield OperationsStub(channel)


def test_an_operation_that_is_not_there_is_named(operations):
    for call in (
        lambda: operations.GetOperation(lro.GetOperationRequest(name="operations/nothing-1")),
        lambda: operations.WaitOperation(lro.WaitOperationRequest(name="operations/nothing-1")),
        lambda: operations.CancelOperation(lro.CancelOperationRequest(name="operations/nothing-1")),
        lambda: operations.DeleteOperation(lro.DeleteOperationRequest(name="operations/nothing-1")),
    ):
        with fails(StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"):
            call()
    with fails(StatusCode.INVALID_ARGUMENT, "NAME_INVALID"):
        operations.GetOperation(lro.GetOperationRequest(name="nothing"))


def test_a_list_takes_only_a_filter_by_done(operations):
    assert not operations.ListOperations(lro.ListOperationsRequest(name="operations", filter="done = false")).operations
    with fails(StatusCode.INVALID_ARGUMENT, "FILTER_UNSUPPORTED"):
        operations.ListOperations(lro.ListOperationsRequest(name="operations", filter="colour = red"))
