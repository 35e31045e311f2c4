"""`cityfleet operator`: accounts for a live view over MQTT."""

import sys
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import operator_pb2 as pb
from cli.completion import operator_ids
from cli.confirm import confirm
from cli.connected import connected
from cli.errors import CommandError, ExitCode
from cli.options import DryRunOption, EtagOption, LimitOption, NameOption, YesOption, request_id_of
from cli.output import OutputFormat, OutputOption, show, show_one
from cli.paging import pages
from cli.registry_client import CALL_S, RegistryClient

app = typer.Typer(
    help="Operators: accounts of people and programs that watch live data over MQTT.", no_args_is_help=True
)
COLUMNS = ("operator", "state", "subscribe_filters", "publish_filters", "display_name")

NameArgument = Annotated[
    str, typer.Argument(metavar="OPERATOR", help="Lowercase letters, digits and `-`.", autocompletion=operator_ids)
]
SubscribeOption = Annotated[
    list[str] | None, typer.Option("--subscribe", "-s", metavar="FILTER", help="MQTT filter; may be repeated.")
]
PublishOption = Annotated[
    list[str] | None, typer.Option("--publish", "-p", metavar="FILTER", help="MQTT filter; may be repeated.")
]


@app.command()
@connected
def create(
    client: RegistryClient,
    operator: NameArgument,
    subscribe: SubscribeOption = None,
    publish: PublishOption = None,
    name: NameOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Make an account and print its token, once. Its MQTT user name is `operator:OPERATOR`.

    Examples:
        cityfleet operator create dispatch --subscribe 'cf/v1/d/+/telemetry/#' --subscribe 'cf/v1/d/+/state'
        cityfleet operator create siren-desk -s 'cf/v1/d/+/state' -p 'cf/v1/d/+/commands'
    """
    given = pb.Operator(display_name=name or "", subscribe_filters=subscribe or (), publish_filters=publish or ())
    request = pb.CreateOperatorRequest(
        operator_id=operator, operator=given, validate_only=dry_run, request_id=request_id_of("")
    )
    created = client.operators.CreateOperator(request, timeout=CALL_S)
    _show_with_token(created.operator, created.token, output)


@app.command()
@connected
def get(client: RegistryClient, operator: NameArgument, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show one operator.

    Example:
        cityfleet operator get dispatch -o yaml
    """
    found = client.operators.GetOperator(pb.GetOperatorRequest(name=f"operators/{operator}"), timeout=CALL_S)
    show_one(_row(found, output), COLUMNS, output, name="operator")


@app.command("list")
@connected
def list_operators(client: RegistryClient, limit: LimitOption = 0, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all operators, in the order of their creation.

    Example:
        cityfleet operator list
    """
    found = pages(client.operators.ListOperators, pb.ListOperatorsRequest(), "operators", limit)
    show((_row(operator, output) for operator in found), COLUMNS, output, name="operator")


@app.command()
@connected
def update(
    client: RegistryClient,
    operator: NameArgument,
    subscribe: SubscribeOption = None,
    publish: PublishOption = None,
    name: NameOption = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether it may connect.")] = None,
    etag: EtagOption = "",
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Change what is named and nothing else; filters are replaced as a whole, `--publish ""` leaves none.

    Examples:
        cityfleet operator update dispatch --subscribe 'cf/v1/#'
        cityfleet operator update siren-desk --disable
    """
    given = {"subscribe_filters": subscribe, "publish_filters": publish, "display_name": name, "disabled": disabled}
    paths = [field for field, value in given.items() if value is not None]
    if not paths:
        raise CommandError("nothing to change", ExitCode.USAGE, "name something, as in --disable")
    message = pb.Operator(
        name=f"operators/{operator}",
        display_name=name or "",
        subscribe_filters=filter(None, subscribe or ()),
        publish_filters=filter(None, publish or ()),
        disabled=bool(disabled),
        etag=etag,
    )
    request = pb.UpdateOperatorRequest(operator=message, validate_only=dry_run, request_id=request_id_of(""))
    request.update_mask.paths.extend(paths)
    updated = client.operators.UpdateOperator(request, timeout=CALL_S)
    show_one(_row(updated, output), COLUMNS, output, name="operator")


@app.command()
@connected
def delete(
    client: RegistryClient,
    operators: Annotated[
        list[str], typer.Argument(metavar="OPERATOR...", help="The accounts.", autocompletion=operator_ids)
    ],
    dry_run: DryRunOption = False,
    yes: YesOption = False,
) -> None:
    """Take accounts away, and with them their connections.

    Example:
        cityfleet operator delete dispatch
    """
    if not dry_run:
        confirm("Delete", len(operators), "operator", yes=yes, is_final=True)
    for operator in operators:
        request = pb.DeleteOperatorRequest(
            name=f"operators/{operator}", validate_only=dry_run, request_id=request_id_of("")
        )
        client.operators.DeleteOperator(request, timeout=CALL_S)


@app.command()
@connected
def rotate(
    client: RegistryClient,
    operator: NameArgument,
    dry_run: DryRunOption = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Give an account a new token and print it, once; the old one, and connections made by it, end.

    Example:
        cityfleet operator rotate dispatch
    """
    request = pb.RotateOperatorTokenRequest(
        name=f"operators/{operator}", validate_only=dry_run, request_id=request_id_of("")
    )
    rotated = client.operators.RotateOperatorToken(request, timeout=CALL_S)
    _show_with_token(rotated.operator, rotated.token, output)


def _show_with_token(operator: pb.Operator, token: str, output: OutputFormat) -> None:
    show_one(_row(operator, output) | {"token": token}, COLUMNS, output, name="operator")
    if not token:
        return
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        print(
            f"\nuser name: operator:{operator.name.removeprefix('operators/')}\ntoken: {token}\nIt is shown this once."
        )
    elif output in (OutputFormat.NAME, OutputFormat.CSV):
        print(f"token: {token}", file=sys.stderr)


def _row(operator: pb.Operator, output: OutputFormat) -> dict[str, Any]:
    has_lists = output in (OutputFormat.JSON, OutputFormat.YAML, OutputFormat.NDJSON)
    return {
        "operator": operator.name.removeprefix("operators/"),
        "state": "disabled" if operator.disabled else "active",
        "subscribe_filters": list(operator.subscribe_filters) if has_lists else " ".join(operator.subscribe_filters),
        "publish_filters": list(operator.publish_filters) if has_lists else " ".join(operator.publish_filters),
        "display_name": operator.display_name,
        "etag": operator.etag,
        "create_time": operator.create_time.ToJsonString(),
        "update_time": operator.update_time.ToJsonString(),
    }
