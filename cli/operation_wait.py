"""Waiting for a long-running operation: progress on the terminal, its failures as they are, the way out by Ctrl-C."""

import sys
import time
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf.duration_pb2 import Duration
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.registry_client import RegistryClient

# Longest single call; the server ends its wait before that.
POLL_S = 2.0
# A registry that is being restarted is waited for.
ATTEMPTS = 30
FAILURES_SHOWN = 20
# Of an operation, as columns.
NUMBERS = ("total", "processed", "succeeded", "unchanged", "failed")


def operation_name(given: str) -> str:
    """With `operations/` or without."""
    return given if given.startswith("operations/") else f"operations/{given}"


def wait_for(client: RegistryClient, operation: Any, timeout_s: float) -> Any:
    """Wait until it ends, over restarts of the registry too, and return it as it is then.

    Ctrl-C and a time-out leave it running. Raises: CommandError then.
    """
    end = time.monotonic() + timeout_s if timeout_s else None
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("devices", total=None)
        attempts = 0
        try:
            while not operation.done:
                left = POLL_S if end is None else min(POLL_S, end - time.monotonic())
                if left <= 0:
                    raise _left_running(operation.name, f"not done after {timeout_s:g} s")
                wait = operations_pb2.WaitOperationRequest(name=operation.name)
                wait.timeout.CopyFrom(Duration(nanos=int(left * 1e9) % 10**9, seconds=int(left)))
                try:
                    operation = client.operations.WaitOperation(wait, timeout=POLL_S + 30)
                except grpc.RpcError as exc:
                    attempts += 1
                    if exc.code() is not grpc.StatusCode.UNAVAILABLE or attempts > ATTEMPTS:
                        raise
                    time.sleep(min(left, 1.0))
                    continue
                attempts = 0
                metadata = metadata_of(operation)
                progress.update(task, total=metadata.total or None, completed=metadata.processed)
        except KeyboardInterrupt:
            raise _left_running(operation.name, "no longer waited for") from None
    return operation


def metadata_of(operation: Any) -> pb.BulkMetadata:
    metadata = pb.BulkMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def status_text(operation: Any) -> str:
    if not operation.done:
        return "cancelling" if metadata_of(operation).is_cancel_requested else "running"
    if operation.HasField("error"):
        return _code_name(operation.error.code).lower()
    return "done"


def say_operation(name: str) -> None:
    """On standard error, how others find what runs here. Args: name: empty: nothing is said."""
    if name:
        print(f"{_short(name)} began; `cityfleet operation get {_short(name)}` shows how far it is", file=sys.stderr)


def say_failures(operation: Any) -> None:
    """The first of them, on standard error."""
    failures = metadata_of(operation).failures
    for failure in failures[:FAILURES_SHOWN]:
        row = f"row {failure.row} ({failure.name})" if failure.row else failure.name
        print(f"  {row}: {failure.status.message}", file=sys.stderr)
    if len(failures) > FAILURES_SHOWN:
        print(f"  ... `cityfleet operation get {_short(operation.name)} -o json` has more of them", file=sys.stderr)


def fail_if_failed(operation: Any) -> None:
    """Raises: CommandError: PARTIAL if it could not change some, ERROR if it ended before it was done."""
    say_failures(operation)
    if operation.HasField("error"):
        code = _code_name(operation.error.code)
        raise CommandError(f"{operation.name}: {operation.error.message} [{code}]", ExitCode.ERROR)
    metadata = metadata_of(operation)
    if metadata.failed:
        raise CommandError(
            f"{metadata.failed} of {metadata.processed} failed",
            ExitCode.PARTIAL,
            f"mend what they say, then repeat it; cityfleet operation get {_short(operation.name)}",
        )


def _left_running(name: str, why: str) -> CommandError:
    remedy = f"cityfleet operation wait {_short(name)}, or cancel"
    return CommandError(f"{name}: {why}; it goes on", ExitCode.ERROR, remedy)


def _short(name: str) -> str:
    return name.removeprefix("operations/")


def _code_name(number: int) -> str:
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), str(number))
