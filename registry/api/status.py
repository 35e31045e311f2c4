"""Errors of the registry as google.rpc.Status (AIP-193): one table of codes, ErrorInfo always, field violations.

A status travels in the headers behind the answer, of which clients take 8 KiB. One that is larger never arrives: they
see RESOURCE_EXHAUSTED, whatever it was. So what a caller sent is said again in part, and of many violations the first.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import SQLAlchemyError

from registry import errors

DOMAIN = "registry.cityfleet"
# Three bytes for each that is not ASCII, and then again within the details.
MAX_MESSAGE_BYTES = 1000
MAX_VALUE_BYTES = 300
MAX_STATUS_BYTES = 3500
DETAILS_KEY = "grpc-status-details-bin"  # what grpc_status.rpc_status reads

_CODES: dict[type[errors.RegistryError], grpc.StatusCode] = {
    errors.InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.PreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EtagMismatchError: grpc.StatusCode.ABORTED,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResumeTokenError: grpc.StatusCode.OUT_OF_RANGE,
    errors.StoppingError: grpc.StatusCode.UNAVAILABLE,
    errors.CancelledError: grpc.StatusCode.CANCELLED,
    errors.AbortedError: grpc.StatusCode.ABORTED,
    errors.TooManyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnknownMethodError: grpc.StatusCode.UNIMPLEMENTED,
}

log = structlog.get_logger()


def code_of(exc: Exception) -> grpc.StatusCode:
    if isinstance(exc, errors.RegistryError):
        return _CODES.get(type(exc), grpc.StatusCode.INTERNAL)
    if isinstance(exc, SQLAlchemyError):
        return grpc.StatusCode.UNAVAILABLE
    return grpc.StatusCode.INTERNAL


def code_named(error: str) -> grpc.StatusCode:
    """The code of a RegistryError by the name of its class, as it is kept when the error itself is gone."""
    return next((code for kind, code in _CODES.items() if kind.__name__ == error), grpc.StatusCode.INTERNAL)


def error_named(code: grpc.StatusCode) -> str:
    """The name of a RegistryError's class that has the code."""
    return next((kind.__name__ for kind, known in _CODES.items() if known is code), errors.RegistryError.__name__)


async def abort(context: Any, exc: Exception) -> NoReturn:
    """End the call with the status of `exc`; an error that nobody raised on purpose is logged, not told."""
    if isinstance(exc, asyncio.CancelledError | grpc.aio.AbortError):
        raise exc
    code = code_of(exc)
    status = status_pb2.Status(code=code.value[0])
    info = error_details_pb2.ErrorInfo(domain=DOMAIN)
    if isinstance(exc, errors.RegistryError):
        status.message, info.reason = cut(str(exc), MAX_MESSAGE_BYTES), exc.reason
        info.metadata.update({key: cut(value, MAX_VALUE_BYTES) for key, value in exc.metadata.items()})
    else:
        log.error("request_failed", exc_info=exc)
        is_database = isinstance(exc, SQLAlchemyError)
        info.reason = "DATABASE_UNAVAILABLE" if is_database else "INTERNAL"
        status.message = (
            "the registry cannot use its database now; try again" if is_database else "internal error; see the log"
        )
    bad = error_details_pb2.BadRequest()
    if isinstance(exc, errors.InvalidError):
        left = MAX_STATUS_BYTES - status.ByteSize() - info.ByteSize()
        bad.field_violations.extend(_first(exc.violations, left))
        if len(bad.field_violations) < len(exc.violations):
            info.metadata["violations"] = str(len(exc.violations))
    status.details.add().Pack(info)
    if bad.field_violations:
        status.details.add().Pack(bad)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort always raises")


def cut(text: str, limit: int) -> str:
    """The text, cut if it has more bytes."""
    raw = text.encode(errors="replace")
    return text if len(raw) <= limit else f"{raw[: limit - 3].decode(errors='ignore')}…"


def _first(
    violations: Sequence[errors.Violation], size_bytes: int
) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """As many as there is room for; at least one."""
    for at, violation in enumerate(violations):
        field, reason = cut(violation.field, MAX_VALUE_BYTES), violation.reason
        made = error_details_pb2.BadRequest.FieldViolation(
            field=field, reason=reason, description=cut(violation.description, MAX_MESSAGE_BYTES)
        )
        size_bytes -= made.ByteSize() + 3
        if at and size_bytes < 0:
            return
        yield made
