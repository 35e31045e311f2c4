"""`cityfleet export`: many devices at once, into a file; readings as files of the ministry."""

import contextlib
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.export_file import ExportFile, Request, Stream
from cli.export_rows import csv_format, ndjson_format
from cli.export_tt10 import export_tt10
from cli.operation_wait import say_operation
from cli.options import DeletedOption, FilterOption
from cli.registry_client import RegistryClient, RegistryOption, address_of, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="Export to files.", no_args_is_help=True)
SAVE_S = 1.0
# After a lost connection: so often without a device in between.
ATTEMPTS, LONGEST_PAUSE_S = 8, 5.0


app.command("tt10")(export_tt10)


class Kind(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


@app.callback()
def root() -> None:
    """Export to files."""


@app.command("devices")
def export_devices(
    to: Annotated[str, typer.Argument(metavar="FILE", help="A .csv or .ndjson file; `-`: standard output.")] = "-",
    filter_text: FilterOption = "",
    kind: Annotated[Kind | None, typer.Option("--format", help="Default: as FILE ends, or csv.")] = None,
    documents: Annotated[
        bool, typer.Option("--documents", help="The last `state` document of each too (ndjson).")
    ] = False,
    show_deleted: DeletedOption = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, although an export to the file was interrupted.")
    ] = False,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write all devices that match, in the order of their ids, with what they are like now.

    The file can be imported again (`cityfleet import devices`), but for the tokens, which nobody can read. FILE is
    there when it is whole; after an interruption the same command goes on where it stopped. While it runs it is an
    operation: `cityfleet operation get|cancel|wait`, also for others.

    Examples:
        cityfleet export devices fleet.csv
        cityfleet export devices --filter 'health = bad AND ward_code = "00070"' > sick.csv
        cityfleet export devices all.ndjson --show-deleted --documents
    """
    kind = kind or _kind_of(to)
    if documents and kind is Kind.CSV:
        raise CommandError("documents are no column", ExitCode.USAGE, "--format ndjson")
    text = "" if filter_text.strip() == "*" else filter_text
    asked = Request(address_of(registry, config, data), kind, text, documents, show_deleted)
    head, encode = csv_format() if kind is Kind.CSV else ndjson_format()
    target = Stream(asked, head) if to == "-" else ExportFile(Path(to), asked, head, restart=restart)
    request = pb.ExportDevicesRequest(filter=text, show_deleted=show_deleted)
    request.view = pb.DEVICE_VIEW_FULL if documents else pb.DEVICE_VIEW_BASIC
    with contextlib.closing(target), connect(registry, config, data) as client, _progress() as progress:
        task = progress.add_task("devices", total=None, completed=target.state.devices)
        saved = time.monotonic()
        try:
            for response in responses(client, request, target):
                say_operation(response.operation)
                if response.total_devices:
                    progress.update(task, total=response.total_devices)
                if response.devices:
                    after = response.devices[-1].name.removeprefix("devices/")
                    target.write(encode(response.devices), after, len(response.devices))
                    progress.update(task, completed=target.state.devices)
                if time.monotonic() - saved >= SAVE_S:
                    target.save()
                    saved = time.monotonic()
        except (grpc.RpcError, KeyboardInterrupt):
            target.save()
            raise
        target.finish()
    if to != "-":
        typer.echo(f"{target.state.devices:,} devices in {to}", err=True)


def responses(
    client: RegistryClient, request: pb.ExportDevicesRequest, target: ExportFile | Stream
) -> Iterator[pb.ExportDevicesResponse]:
    """Over broken connections too. Raises: grpc.RpcError for what waiting does not mend."""
    attempts = 0
    while True:
        request.resume_after = target.state.after
        try:
            for response in client.devices.ExportDevices(request):
                if response.devices:
                    attempts = 0
                yield response
        except grpc.RpcError as exc:
            code = exc.code() if isinstance(exc, grpc.Call) else None
            attempts += 1
            if code is not grpc.StatusCode.UNAVAILABLE or attempts > ATTEMPTS or not target.state.devices:
                raise
        else:
            return
        time.sleep(min(0.25 * 2**attempts, LONGEST_PAUSE_S))


def _kind_of(to: str) -> Kind:
    kinds = {".csv": Kind.CSV, ".ndjson": Kind.NDJSON, ".jsonl": Kind.NDJSON}
    kind = Kind.CSV if to == "-" else kinds.get(Path(to).suffix.lower())
    if kind is None:
        raise CommandError(f"{to}: neither .csv nor .ndjson", ExitCode.USAGE, "say which: --format csv")
    return kind


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal or sys.stdout.isatty(), transient=True)
