"""What the registry raises on purpose; api/status.py turns each into a gRPC status."""

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """One field that is wrong: `reason` is UPPER_SNAKE_CASE and stable, `description` says what to do."""

    field: str
    reason: str
    description: str


class RegistryError(Exception):
    """`reason` names the case for programs; `metadata` holds every changing part of the message."""

    reason = "INTERNAL"

    def __init__(self, message: str, *, reason: str = "", metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason or type(self).reason
        self.metadata = metadata or {}


class InvalidError(RegistryError):
    """The request is wrong whatever the registry holds: mend the named fields."""

    reason = "INVALID_FIELDS"

    def __init__(self, violations: list[Violation]) -> None:
        first = violations[0]
        text = f"{first.field}: {first.description}" if first.field else first.description
        if len(violations) > 1:
            text += f" (and {len(violations) - 1} more)"
        super().__init__(text, reason=first.reason if len(violations) == 1 else "")
        self.violations = violations


class NotFoundError(RegistryError):
    """Nothing has that name; make it first or mend the name."""

    reason = "NOT_FOUND"


class AlreadyExistsError(RegistryError):
    """The name is taken, for ever."""

    reason = "ALREADY_EXISTS"


class PreconditionError(RegistryError):
    """Not in this state: change the state first, then try again."""

    reason = "FAILED_PRECONDITION"


class EtagMismatchError(RegistryError):
    """Somebody else changed it meanwhile: read it again, then decide."""

    reason = "ETAG_MISMATCH"


class UnauthenticatedError(RegistryError):
    """The caller has not said who he is, or not truthfully."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(RegistryError):
    """The caller may not do that; or it is not there, which he may not know either."""

    reason = "PERMISSION_DENIED"


class ResumeTokenError(RegistryError):
    """The resume token leads nowhere: come back without it and take a snapshot."""

    reason = "RESUME_TOKEN_UNUSABLE"


class StoppingError(RegistryError):
    """The registry is about to leave: come back in a moment, with the resume token."""

    reason = "STOPPING"


class TooManyError(RegistryError):
    """As many as can be served are at it: come back later."""

    reason = "TOO_MANY"


class CancelledError(RegistryError):
    """Somebody has cancelled it: what is done stays done."""

    reason = "CANCELLED"


class AbortedError(RegistryError):
    """Whoever did it is gone, or no longer the one who does it: what is done stays done, begin it again."""

    reason = "ABORTED"


class UnknownMethodError(RegistryError):
    """The API has no such method, or not yet: the registry may be older than its caller."""

    reason = "METHOD_UNKNOWN"
