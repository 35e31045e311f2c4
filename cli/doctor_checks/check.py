"""A check's findings: what was seen, whether it is well, and what to do about it."""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from cli.doctor_checks.deployment import Deployment


class Status(StrEnum):
    OK = "ok"
    # Works, and a person should know.
    WARN = "warn"
    # Something is lost, at risk or does not work.
    FAIL = "fail"
    # Could not be looked at; `what` says why.
    SKIP = "skip"


class Finding(msgspec.Struct, frozen=True):
    name: str
    status: Status
    what: str
    remedy: str = ""


Check = Callable[[Deployment], Iterable[Finding]]


def ok(name: str, what: str) -> Finding:
    return Finding(name, Status.OK, what)


def warn(name: str, what: str, remedy: str) -> Finding:
    return Finding(name, Status.WARN, what, remedy)


def fail(name: str, what: str, remedy: str) -> Finding:
    return Finding(name, Status.FAIL, what, remedy)


def skip(name: str, what: str) -> Finding:
    return Finding(name, Status.SKIP, what)


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s"
