"""`cityfleet operation`: what the registry is at for long: changes of all devices that match, imports, exports."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.longrunning import operations_pb2 as lro

from cli.confirm import confirm
from cli.connected import connected
from cli.operation_wait import NUMBERS, fail_if_failed, metadata_of, operation_name, say_failures, status_text, wait_for
from cli.options import LimitOption, TimeoutOption, YesOption
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import last_part, row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(
    help="Operations: changes by filter, imports and exports, while they run and after.", no_args_is_help=True
)
COLUMNS = ("operation", "status", *NUMBERS, "start_time")
WIDE = ("created", "actor", "end_time", "method", "error")
NameArgument = Annotated[str, typer.Argument(metavar="OPERATION", help="As in bulk-update-7.")]
NamesArgument = Annotated[list[str], typer.Argument(metavar="OPERATION...", help="As in bulk-update-7.")]


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"


@app.command("list")
@connected
def list_operations(
    client: RegistryClient,
    status: Annotated[Status | None, typer.Option("--status", help="Only these.")] = None,
    limit: LimitOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show your operations, the newest first; an administrator sees everybody's. They are kept for 30 days.

    Examples:
        cityfleet operation list --status running
        cityfleet operation list -o wide --limit 10
    """
    text = {None: "", Status.RUNNING: "done = false", Status.DONE: "done = true"}[status]
    request = lro.ListOperationsRequest(name="operations", filter=text)
    found = pages(client.operations.ListOperations, request, "operations", limit)
    show(_rows(found), COLUMNS, output, name="operation", wide=WIDE)


@app.command()
@connected
def get(client: RegistryClient, name: NameArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one operation: how far it is, what failed and why.

    Example:
        cityfleet operation get bulk-update-7 -o yaml
    """
    found = client.operations.GetOperation(lro.GetOperationRequest(name=operation_name(name)), timeout=CALL_S)
    show_one(_row(found), COLUMNS, output, name="operation", wide=WIDE)
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        say_failures(found)


@app.command()
@connected
def wait(
    client: RegistryClient, name: NameArgument, timeout: TimeoutOption = 0, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Wait until an operation has ended. Ctrl-C ends the waiting, not the operation. Exit code 5 if a device failed.

    Example:
        cityfleet operation wait bulk-update-7 --timeout 600
    """
    found = client.operations.GetOperation(lro.GetOperationRequest(name=operation_name(name)), timeout=CALL_S)
    found = wait_for(client, found, timeout)
    show_one(_row(found), COLUMNS, output, name="operation", wide=WIDE)
    fail_if_failed(found)


@app.command()
@connected
def cancel(client: RegistryClient, names: NamesArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """End operations before their next devices; what is done stays done. An import or export ends where it runs.

    Example:
        cityfleet operation cancel bulk-update-7
    """
    for name in map(operation_name, names):
        client.operations.CancelOperation(lro.CancelOperationRequest(name=name), timeout=CALL_S)
    wanted = [lro.GetOperationRequest(name=operation_name(name)) for name in names]
    found = [client.operations.GetOperation(request, timeout=CALL_S) for request in wanted]
    show(_rows(found), COLUMNS, output, name="operation", wide=WIDE)


@app.command()
@connected
def delete(client: RegistryClient, names: NamesArgument, yes: YesOption = False) -> None:
    """Forget operations that have ended; what they did stays done.

    Example:
        cityfleet operation delete bulk-update-7
    """
    confirm("Forget", len(names), "operation", yes=yes)
    for name in map(operation_name, names):
        client.operations.DeleteOperation(lro.DeleteOperationRequest(name=name), timeout=CALL_S)


def _rows(operations: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return map(_row, operations)


def _row(operation: Any) -> dict[str, Any]:
    metadata = metadata_of(operation)
    row = row_of(metadata, "operation") | {"operation": last_part(operation.name)}
    row |= {"method": last_part(metadata.method), "status": status_text(operation), "error": operation.error.message}
    row["failures"] = [_failure(failure) for failure in metadata.failures]
    return row


def _failure(failure: Any) -> dict[str, Any]:
    told = {"name": failure.name, "message": failure.status.message}
    return {"row": failure.row, **told} if failure.row else told
