"""The status of a failed call, taken apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass
class Failure:
    """Filled in when the block of `fails` has ended."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def fails(code: grpc.StatusCode, reason: str) -> Iterator[Failure]:
    """`with fails(code, reason) as failure: call()`; checks that there is exactly one ErrorInfo with that reason."""
    failure = Failure()
    with pytest.raises(grpc.RpcError) as raised:
        yield failure
    call = raised.value
    assert isinstance(call, grpc.Call)
    failure.code, failure.message = call.code(), call.details()
    assert failure.code is code, f"{failure.code}: {failure.message}"
    status = rpc_status.from_call(call)
    assert status is not None, f"no details: {failure.message}"
    infos = []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            failure.violations += [(violation.field, violation.reason) for violation in bad.field_violations]
    assert len(infos) == 1
    assert infos[0].domain
    failure.reason, failure.metadata = infos[0].reason, dict(infos[0].metadata)
    assert failure.reason == reason, f"{failure.reason}: {failure.message}"
