"""Operations as plain data. Times are UTC milliseconds since the epoch, by the registry's clock."""

from collections.abc import Sequence

import msgspec

from registry.errors import RegistryError

# Streams of a client that has the file, by the methods that begin them, and what each counts. They run in the registry
# that answers the client, and nobody else can go on with one.
ATTENDED = {
    "cityfleet.registry.v1.DeviceService/ImportDevices": "rows",
    "cityfleet.registry.v1.DeviceService/ExportDevices": "devices",
}
MAX_FAILURES = 1000
MAX_MESSAGE = 300


class Failure(msgspec.Struct, frozen=True):
    """`error` is the class of a RegistryError, by which the API finds the code; `message` has at most MAX_MESSAGE
    characters. `row`: of a file; 0: of none."""

    name: str
    error: str
    reason: str
    message: str
    row: int = 0

    @classmethod
    def of(cls, name: str, exc: RegistryError) -> "Failure":
        return cls(name, type(exc).__name__, exc.reason, str(exc)[:MAX_MESSAGE])


class Progress(msgspec.Struct, frozen=True):
    """`failures` are the first MAX_FAILURES of `failed`; `created`: of `succeeded`, what was not there before."""

    total: int = 0
    processed: int = 0
    succeeded: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    created: int = 0

    @property
    def room(self) -> int:
        """How many more failures are kept."""
        return MAX_FAILURES - len(self.failures)

    def plus(
        self, *, succeeded: int, unchanged: int, failures: Sequence[Failure], created: int = 0, failed: int = 0
    ) -> "Progress":
        """After one more chunk; with the same tuple of failures if there are no new ones to keep.

        Args: failed: how many failed, if `failures` are only those for which there is room.
        """
        failed = max(failed, len(failures))
        kept = (*self.failures, *failures[: self.room]) if failures and self.room > 0 else self.failures
        return Progress(
            self.total,
            self.processed + succeeded + unchanged + failed,
            self.succeeded + succeeded,
            self.unchanged + unchanged,
            self.failed + failed,
            kept,
            self.created + created,
        )


class Ending(msgspec.Struct, frozen=True):
    """Why an operation ended before its work was done: an error's class, reason and message."""

    error: str
    reason: str
    message: str


class Operation(msgspec.Struct, frozen=True):
    """`method` is the full name of the gRPC method that began it; `request` is for the work that is done by it.

    `position` says how far it is, in the work's own words; 0: at the start. Done with `ending` None: the work is done.
    """

    operation_num: int
    operation_id: str
    actor: str
    method: str
    request: bytes
    progress: Progress
    ending: Ending | None
    is_done: bool
    is_cancel_requested: bool
    position: int
    worker: str
    worker_time_ms: int
    create_time_ms: int
    update_time_ms: int


class Step(msgspec.Struct, frozen=True):
    """What one chunk came to."""

    position: int
    progress: Progress
    is_over: bool
