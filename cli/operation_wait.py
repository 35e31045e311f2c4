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
FAILURES_SHOWN = 20


def wait_for(client: RegistryClient, operation: Any, timeout_s: float) -> pb.BulkMetadata:
    """Wait until it ends and return what it did.

    Ctrl-C and a time-out leave it running. Raises: CommandError (PARTIAL if some failed, ERROR if it ended otherwise).
    """
    end = time.monotonic() + timeout_s if timeout_s else None
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("devices", total=None)
        try:
            while not operation.done:
                if end is not None and time.monotonic() >= end:
                    raise _left_running(operation.name, f"not done after {timeout_s:g} s")
                wait = operations_pb2.WaitOperationRequest(name=operation.name, timeout=Duration(seconds=int(POLL_S)))
                operation = client.operations.WaitOperation(wait, timeout=POLL_S + 30)
                metadata = metadata_of(operation)
                progress.update(task, total=metadata.total or None, completed=metadata.processed)
        except KeyboardInterrupt:
            raise _left_running(operation.name, "no longer waited for") from None
    return _outcome(operation)


def metadata_of(operation: Any) -> pb.BulkMetadata:
    metadata = pb.BulkMetadata()
    operation.metadata.Unpack(metadata)
    return metadata


def _left_running(name: str, why: str) -> CommandError:
    remedy = f"cityfleet operation get {name} | wait | cancel"
    return CommandError(f"{name}: {why}; it goes on", ExitCode.ERROR, remedy)


def _outcome(operation: Any) -> pb.BulkMetadata:
    metadata = metadata_of(operation)
    for failure in metadata.failures[:FAILURES_SHOWN]:
        print(f"  {failure.name or f'row {failure.row}'}: {failure.status.message}", file=sys.stderr)
    if operation.HasField("error"):
        code = grpc_code_name(operation.error.code)
        raise CommandError(f"{operation.name}: {operation.error.message} [{code}]", ExitCode.ERROR)
    if metadata.failed:
        raise CommandError(
            f"{metadata.failed} of {metadata.processed} failed",
            ExitCode.PARTIAL,
            f"cityfleet operation get {operation.name}",
        )
    return metadata


def grpc_code_name(number: int) -> str:
    return next((code.name for code in grpc.StatusCode if code.value[0] == number), str(number))
