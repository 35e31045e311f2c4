"""Errors as a person reads them: one line of reason, one of remedy, and the exit code of DESIGN's contract."""

import sys
from enum import IntEnum

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from runtime.settings import SettingsError


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    PERMISSION = 4
    PARTIAL = 5


class CommandError(Exception):
    """Ends the command with `message` on standard error and the given exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.ERROR, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


_GRPC_CODES = {
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.PERMISSION,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.PERMISSION,
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.USAGE,
}


def exit_code_of(exc: Exception) -> int:
    """Say on standard error what went wrong and return the exit code; anything unforeseen is raised again."""
    if isinstance(exc, CommandError):
        _say(str(exc), exc.remedy)
        return exc.code
    if isinstance(exc, SettingsError):
        _say(str(exc), "")
        return ExitCode.USAGE
    if isinstance(exc, grpc.RpcError) and isinstance(exc, grpc.Call):
        _say_status(exc)
        return _GRPC_CODES.get(exc.code(), ExitCode.ERROR)
    raise exc


def _say_status(exc: grpc.Call) -> None:
    """A call's error: the sentence, code and reason, then each wrong field if there are several."""
    reason, violations = "", []
    try:
        status = rpc_status.from_call(exc)
    except ValueError:  # details that contradict the status
        status = None
    for detail in status.details if status is not None else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations = list(bad.field_violations)
    code = exc.code().name
    remedy = ""
    if exc.code() is grpc.StatusCode.UNAVAILABLE and not reason:
        remedy = "is the registry running? `cityfleet up` starts it; --registry HOST:PORT names another"
    _say(f"{exc.details()} [{code}{f' {reason}' if reason and reason != code else ''}]", remedy)
    for violation in violations if len(violations) > 1 else ():
        print(f"  {violation.field}: {violation.description} [{violation.reason}]", file=sys.stderr)


def _say(message: str, remedy: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    if remedy:
        print(f"  try: {remedy}", file=sys.stderr)
