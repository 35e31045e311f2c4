"""Errors of the registry as google.rpc.Status (AIP-193): one table of codes, ErrorInfo always, field violations."""

import asyncio
from typing import Any, NoReturn

import grpc
import structlog
from google.rpc import error_details_pb2, status_pb2
from sqlalchemy.exc import SQLAlchemyError

from registry import errors

DOMAIN = "registry.cityfleet"
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
    errors.TooManyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
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


async def abort(context: Any, exc: Exception) -> NoReturn:
    """End the call with the status of `exc`; an error that nobody raised on purpose is logged, not told."""
    if isinstance(exc, asyncio.CancelledError | grpc.aio.AbortError):
        raise exc
    code = code_of(exc)
    status = status_pb2.Status(code=code.value[0])
    info = error_details_pb2.ErrorInfo(domain=DOMAIN)
    if isinstance(exc, errors.RegistryError):
        status.message, info.reason = str(exc), exc.reason
        info.metadata.update(exc.metadata)
    else:
        log.error("request_failed", exc_info=exc)
        is_database = isinstance(exc, SQLAlchemyError)
        info.reason = "DATABASE_UNAVAILABLE" if is_database else "INTERNAL"
        status.message = (
            "the registry cannot use its database now; try again" if is_database else "internal error; see the log"
        )
    status.details.add().Pack(info)
    if isinstance(exc, errors.InvalidError):
        bad = error_details_pb2.BadRequest()
        for violation in exc.violations:
            bad.field_violations.add(field=violation.field, reason=violation.reason, description=violation.description)
        status.details.add().Pack(bad)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort always raises")
