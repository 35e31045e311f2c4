"""Errors as a person reads them: one line of reason, one of remedy, and the exit code of DESIGN's contract."""

import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

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


# What to do about a code whose message cannot know how the caller came here.
_CODE_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "is the registry running? `cityfleet up` starts one, --registry HOST:PORT names one, "
    "`cityfleet context list` shows those you know",
    grpc.StatusCode.UNAUTHENTICATED: "say who you are: a token by `cityfleet context set NAME --token-file FILE`, or "
    "CITYFLEET_TOKEN_FILE=FILE; on the registry's machine --data FOLDER is enough",
    grpc.StatusCode.PERMISSION_DENIED: "an administrator grants roles: `cityfleet account update`",
    grpc.StatusCode.UNIMPLEMENTED: "the registry is older than this command: upgrade it, or use its own `cityfleet`",
    grpc.StatusCode.DEADLINE_EXCEEDED: "what was asked for may have been done: look, then try again",
}
_GRANTED = "`cityfleet account whoami` shows what you may do; an administrator grants more: `cityfleet account update`"
_REASON_REMEDIES = {
    "METHOD_UNKNOWN": _CODE_REMEDIES[grpc.StatusCode.UNIMPLEMENTED],
    "ROLE_REQUIRED": _GRANTED,
    "SCOPE_TOO_SMALL": _GRANTED,
    "NOT_THERE_OR_NOT_YOURS": _GRANTED,
    "OUT_OF_SCOPE": _GRANTED,
    "ETAG_MISMATCH": "read it again (`get -o yaml`), look at what changed, then repeat with its etag",
    "REQUEST_ID_REUSED": "take a new request id for another request",
    "RESUME_TOKEN_UNUSABLE": "begin the watch anew, without a resume token",
}
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
    if isinstance(exc, UnicodeEncodeError):
        is_given = exc.encoding == "utf-8"  # what was no UTF-8 came in as surrogates
        said = (
            "an argument is not UTF-8" if is_given else f"this terminal's {exc.encoding} does not have all characters"
        )
        _say(said, "in a terminal of UTF-8, as with LC_ALL=C.UTF-8")
        return ExitCode.USAGE
    if isinstance(exc, UnicodeDecodeError):
        _say("standard input is not UTF-8", "")
        return ExitCode.USAGE
    if isinstance(exc, grpc.RpcError) and isinstance(exc, grpc.Call):
        _say_status(exc)
        return _GRPC_CODES.get(exc.code(), ExitCode.ERROR)
    raise exc


def sentence_of(exc: grpc.Call) -> str:
    """A call's error in one line: what it says, its code, its reason."""
    return _read(exc).sentence


class _Status(NamedTuple):
    sentence: str
    reason: str
    violations: list[error_details_pb2.BadRequest.FieldViolation]
    links: list[str]


def _read(exc: grpc.Call) -> _Status:
    reason, violations, links = "", [], []
    try:
        status = rpc_status.from_call(exc)
    except ValueError:  # details that contradict the status
        status = None
    for detail in status.details if status is not None else ():
        info, bad, link = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.Help()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations = list(bad.field_violations)
        elif detail.Unpack(link):
            links = [f"{entry.description} {entry.url}".strip() for entry in link.links]
    code = exc.code().name
    sentence = f"{exc.details()} [{code}{f' {reason}' if reason and reason != code else ''}]"
    return _Status(sentence, reason, violations, links)


def _say_status(exc: grpc.Call) -> None:
    """A call's error: the sentence with its code and reason, each wrong field if there are several, and the remedy."""
    status = _read(exc)
    remedy = _REASON_REMEDIES.get(status.reason, "") or "; ".join(status.links)
    if not remedy and status.reason in ("", exc.code().name):
        remedy = _CODE_REMEDIES.get(exc.code(), "")
    fields = status.violations if len(status.violations) > 1 else ()
    said = [f"  {entry.field}: {entry.description} [{entry.reason}]" for entry in fields]
    _say(status.sentence, remedy, said)


def _say(message: str, remedy: str, more: Sequence[str] = ()) -> None:
    print("\n".join([f"error: {message}", *more]), file=sys.stderr)
    if remedy:
        print(f"  try: {remedy}", file=sys.stderr)
