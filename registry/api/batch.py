"""What is common to requests for several resources at once, answered as a whole: how many, and what a part may say."""

from typing import Protocol

from registry.errors import InvalidError, Violation

MAX_BATCH = 5000


class Part(Protocol):
    """A request for one, as it stands in a batch."""

    validate_only: bool
    request_id: str


def check_batch(field: str, size: int, largest: int = MAX_BATCH) -> None:
    """Raises: InvalidError."""
    if not 1 <= size <= largest:
        raise InvalidError([Violation(field, "BATCH_SIZE", f"1 to {largest} at once, not {size}")])


def check_part(field: str, part: Part) -> None:
    """Only the whole is a dry run or has an id. Raises: InvalidError."""
    for name in ("validate_only", "request_id"):
        if getattr(part, name):
            text = f"set {name} of the batch instead"
            raise InvalidError([Violation(f"{field}.{name}", "NOT_IN_A_BATCH", text)])
