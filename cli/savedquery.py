"""`cityfleet savedquery`: filters of devices with a name."""

from typing import Annotated

import typer

from cityfleet.registry.v1 import group_pb2 as pb
from cli.completion import query_ids
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, EtagOption, LimitOption, NameOption, YesOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.record import row_of
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(help='Saved queries: a filter with a name; in another filter in_query("ID").', no_args_is_help=True)
COLUMNS = ("saved_query_id", "display_name", "filter")
WIDE = ("create_time", "update_time", "etag")

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Lowercase letters, digits and `-`.", autocompletion=query_ids)
]


@app.command()
@connected
def create(
    client: RegistryClient,
    query_id: IdArgument,
    filter_text: Annotated[str, typer.Option("--filter", metavar="FILTER", help="As in `device list`.")],
    name: NameOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Save a filter under a name; it is checked now and evaluated whenever it is used.

    Examples:
        cityfleet savedquery create sick-gauges --filter 'device_type = "gauge-*" AND health = bad'
        cityfleet device list --filter 'in_query("sick-gauges") AND ward_code = "00070"'
    """
    request = pb.CreateSavedQueryRequest(
        saved_query_id=query_id,
        saved_query=pb.SavedQuery(display_name=name or "", filter=filter_text),
        validate_only=dry_run,
        request_id=request_id_of(""),
    )
    _show_one(client.groups.CreateSavedQuery(request, timeout=CALL_S), output)


@app.command()
@connected
def get(client: RegistryClient, query_id: IdArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one saved query.

    Example:
        cityfleet savedquery get sick-gauges -o yaml
    """
    request = pb.GetSavedQueryRequest(name=f"savedQueries/{query_id}")
    _show_one(client.groups.GetSavedQuery(request, timeout=CALL_S), output)


@app.command("list")
@connected
def list_queries(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all saved queries.

    Example:
        cityfleet savedquery list
    """
    found = pages(client.groups.ListSavedQueries, pb.ListSavedQueriesRequest(), "saved_queries", limit)
    rows = (row_of(query, "saved_query_id") for query in found)
    show(rows, COLUMNS, output, name="saved_query_id", wide=WIDE)


@app.command()
@connected
def update(
    client: RegistryClient,
    query_id: IdArgument,
    filter_text: Annotated[str | None, typer.Option("--filter", metavar="FILTER", help="As in `device list`.")] = None,
    name: NameOption = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Change its filter or its display name.

    Example:
        cityfleet savedquery update sick-gauges --filter 'device_type = "gauge-*" AND health != good'
    """
    given = {"filter": filter_text, "display_name": name}
    paths = [field for field, value in given.items() if value is not None]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name a field, as in --filter 'health = bad'")
    query = pb.SavedQuery(name=f"savedQueries/{query_id}", display_name=name or "", filter=filter_text or "", etag=etag)
    request = pb.UpdateSavedQueryRequest(saved_query=query, validate_only=dry_run, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    _show_one(client.groups.UpdateSavedQuery(request, timeout=CALL_S), output)


@app.command()
@connected
def delete(
    client: RegistryClient,
    queries: Annotated[list[str], typer.Argument(metavar="ID...", help="The saved queries.", autocompletion=query_ids)],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Delete saved queries.

    Example:
        cityfleet savedquery delete sick-gauges
    """
    if not dry_run:
        confirm("Delete", len(queries), "saved query", yes=yes, is_final=True)
    for query_id in queries:
        request = pb.DeleteSavedQueryRequest(
            name=f"savedQueries/{query_id}", validate_only=dry_run, request_id=request_id_of("")
        )
        client.groups.DeleteSavedQuery(request, timeout=CALL_S)


def _show_one(query: pb.SavedQuery, output: OutputFormat) -> None:
    show_one(row_of(query, "saved_query_id"), COLUMNS, output, name="saved_query_id", wide=WIDE)
