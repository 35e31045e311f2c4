"""Devices by the many: named, or all that match a filter; counted, and asked about before they are touched."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from cityfleet.registry.v1 import device_pb2 as pb
from cli.completion import device_ids
from cli.confirm import confirm
from cli.errors import CommandError, ExitCode
from cli.operation_wait import fail_if_failed, metadata_of, status_text, wait_for
from cli.output import OutputFormat, show_one
from cli.record import last_part
from cli.registry_client import CALL_S, RegistryClient

OPERATION_COLUMNS = ("operation", "status", "total", "succeeded", "unchanged", "failed")
IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="The devices; or --filter.", autocompletion=device_ids)
]


class Done(NamedTuple):
    """`operation` may still be running."""

    operation: Any
    is_dry_run: bool


def ids_or_filter(device_ids: list[str] | None, filter_text: str) -> None:
    """Raises: CommandError unless it is one of the two."""
    if bool(device_ids) == bool(filter_text.strip()):
        said = "name devices or give --filter, not both" if device_ids else "which devices? Name them, or give --filter"
        raise CommandError(said, ExitCode.USAGE, "--filter '*' is all of them")


def count(client: RegistryClient, filter_text: str) -> int:
    """How many match; `*` is all."""
    text = "" if filter_text.strip() == "*" else filter_text
    counted = client.devices.AggregateDevices(pb.AggregateDevicesRequest(filter=text), timeout=CALL_S)
    return int(counted.total_devices)


def run_by_filter(
    client: RegistryClient,
    start: Callable[[int], Any],
    filter_text: str,
    what: str,
    *,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout_s: float,
    is_final: bool = False,
) -> Done | None:
    """Count, ask, start the operation and wait for it.

    Args:
        start: starts it, given how many must match: what was asked about is what is done.
        what: the verb, as in `Delete`.
    Returns: None if nothing matches.
    """
    matching = count(client, filter_text)
    if not matching:
        return None
    if not dry_run:
        confirm(what, matching, "device", yes=yes, is_final=is_final)
    operation = start(matching)
    if wait:
        operation = wait_for(client, operation, timeout_s)
    return Done(operation, dry_run)


def show_done(done: Done | None, output: OutputFormat) -> None:
    """What became of it. Raises: CommandError if some devices were not changed."""
    if done is None:
        typer.echo("no device matches; nothing was done", err=True)
        row = {"operation": "", "status": "done", "total": 0, "succeeded": 0, "unchanged": 0, "failed": 0}
        show_one(row | {"dry_run": False}, OPERATION_COLUMNS, output, name="operation")
        return
    metadata = metadata_of(done.operation)
    row = {"operation": last_part(done.operation.name), "status": status_text(done.operation)}
    row |= {name: getattr(metadata, name) for name in ("total", "succeeded", "unchanged", "failed")}
    show_one(row | {"dry_run": done.is_dry_run}, OPERATION_COLUMNS, output, name="operation")
    fail_if_failed(done.operation)
