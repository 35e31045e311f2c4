"""`cityfleet audit`: who changed what, and whether the log of it is whole."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cityfleet.registry.v1 import access_pb2 as pb
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import FilterOption, LimitOption, joined
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import RegistryClient

app = typer.Typer(help="The audit log: who changed what, and whether the log is whole.", no_args_is_help=True)
COLUMNS = ("event", "event_time", "actor", "method", "resource", "result")
WIDE = ("peer", "request_id", "before", "after")
VERIFIED = ("events", "last_event", "chain_sha256")
_PACKAGE = "cityfleet.registry.v1."
# Nearly a hundred thousand events a second are checked.
VERIFY_S = 3600.0


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last event of a log that was sound; `chain_sha256` is hexadecimal."""

    last_event: int
    chain_sha256: str


@app.command("list")
@connected
def list_events(
    client: RegistryClient,
    filter_text: FilterOption = "",
    actor: Annotated[str, typer.Option("--actor", metavar="ACCOUNT", help="Only what this account did.")] = "",
    resource: Annotated[
        str, typer.Option("--resource", metavar="NAME", help="Only what was done to it, as in devices/wl-1.")
    ] = "",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Default: the newest first.")] = False,
    limit: LimitOption = 0,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show who changed what, from where and by which request, and what was refused; `-o json` has before and after.

    An import has one event for each request of its stream, a change by filter one for each chunk.

    Examples:
        cityfleet audit list --resource devices/wl-long-bien-01 -o yaml
        cityfleet audit list --actor nga --filter 'event_time > "2026-11-01T00:00:00Z"'
        cityfleet audit list --filter 'result:PERMISSION_DENIED AND event_time > ago("24h")'

    Fields: actor peer method request_id resource result event_time.
    """
    named = {"actor": f"accounts/{actor}" if actor else None, "resource": resource or None}
    request = pb.ListAuditEventsRequest(
        filter=joined(filter_text, named), order_by="event_time" if oldest_first else "event_time desc"
    )
    rows = (_row(event, output) for event in pages(client.audit.ListAuditEvents, request, "audit_events", limit))
    show(rows, COLUMNS, output, name="event", wide=WIDE)


@app.command()
@connected
def verify(
    client: RegistryClient,
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="Keeps the last event; the next run holds the log against it."),
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Check that no event was changed, put in or taken out; says which is the first that was.

    Whoever can write to the database could write a whole log anew, or cut its end off. Keep the last event on another
    machine, and that is found too.

    Examples:
        cityfleet audit verify
        cityfleet audit verify --head /media/safe/audit-head.json
    """
    known = _read(head) if head is not None else None
    request = pb.VerifyAuditLogRequest()
    if known is not None:
        request.known_event, request.known_chain_sha256 = known.last_event, bytes.fromhex(known.chain_sha256)
    found = client.audit.VerifyAuditLog(request, timeout=VERIFY_S)
    if found.first_broken:
        text = f"the audit log is broken: {found.problem}; {found.events} events before it are sound"
        raise CommandError(text, remedy="a backup has the log as it was: compare the two by `audit list -o ndjson`")
    row = {"events": found.events, "last_event": found.last_event, "chain_sha256": found.chain_sha256.hex()}
    if head is not None:
        _write(head, Head(found.last_event, found.chain_sha256.hex()))
    show_one(row, VERIFIED, output, name="last_event")


def _row(event: pb.AuditEvent, output: OutputFormat) -> dict[str, Any]:
    row = row_of(event, "event")
    row["chain_sha256"] = event.chain_sha256.hex()
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        row["method"] = event.method.removeprefix(_PACKAGE)
    elif output in (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.YAML):
        row |= {field: json.loads(row[field]) if row[field] else None for field in ("before", "after")}
    return row


def _read(path: Path) -> Head | None:
    """None: there is none yet. Raises: CommandError."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Head)
        bytes.fromhex(found.chain_sha256)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        text = f"{path} does not say what the last event was: {exc}"
        raise CommandError(text, ExitCode.USAGE, "name the file that an earlier `audit verify --head` wrote") from exc
    return found


def _write(path: Path, head: Head) -> None:
    """Raises: CommandError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(msgspec.json.encode(head) + b"\n")
        draft.replace(path)
    except OSError as exc:
        remedy = "the log is sound; name a file that can be written"
        raise CommandError(f"cannot write {path}: {exc}", remedy=remedy) from exc
