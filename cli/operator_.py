"""`cityfleet operator`: accounts for a live view over MQTT."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cityfleet.registry.v1 import operator_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.registry_client import CALL_S, RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(
    help="Operators: accounts of people and programs that watch live data over MQTT.", no_args_is_help=True
)
COLUMNS = ("operator", "state", "subscribe_filters", "publish_filters", "display_name")

NameArgument = Annotated[str, typer.Argument(metavar="OPERATOR", help="Lowercase letters, digits and `-`.")]
DisplayOption = Annotated[str | None, typer.Option("--name", help="Display name.")]
SubscribeOption = Annotated[
    list[str] | None, typer.Option("--subscribe", "-s", metavar="FILTER", help="MQTT filter; may be repeated.")
]
PublishOption = Annotated[
    list[str] | None, typer.Option("--publish", "-p", metavar="FILTER", help="MQTT filter; may be repeated.")
]


@app.command()
def create(
    operator: NameArgument,
    subscribe: SubscribeOption = None,
    publish: PublishOption = None,
    name: DisplayOption = None,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Make an account and print its token, once. Its MQTT user name is `operator:OPERATOR`.

    Examples:
        cityfleet operator create dispatch --subscribe 'cf/v1/d/+/telemetry/#' --subscribe 'cf/v1/d/+/state'
        cityfleet operator create siren-desk -s 'cf/v1/d/+/state' -p 'cf/v1/d/+/commands'
    """
    given = pb.Operator(display_name=name or "", subscribe_filters=subscribe or (), publish_filters=publish or ())
    with connect(registry, config, data) as client:
        request = pb.CreateOperatorRequest(operator_id=operator, operator=given)
        created = client.operators.CreateOperator(request, timeout=CALL_S)
    _show_with_token(created.operator, created.token, output)


@app.command("list")
def list_operators(
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show all operators, in the order of their creation.

    Example:
        cityfleet operator list
    """
    with connect(registry, config, data) as client:
        show([_row(found, output) for found in _pages(client)], COLUMNS, output, name="operator")


@app.command()
def update(
    operator: NameArgument,
    subscribe: SubscribeOption = None,
    publish: PublishOption = None,
    name: DisplayOption = None,
    disabled: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether it may connect.")] = None,
    etag: Annotated[str, typer.Option("--etag", help="Only if it is still this version.")] = "",
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
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
    request = pb.UpdateOperatorRequest(operator=message)
    request.update_mask.paths.extend(paths)
    with connect(registry, config, data) as client:
        updated = client.operators.UpdateOperator(request, timeout=CALL_S)
    show([_row(updated, output)], COLUMNS, output, name="operator")


@app.command()
def delete(
    operators: Annotated[list[str], typer.Argument(metavar="OPERATOR...", help="The accounts.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Take accounts away, and with them their connections.

    Example:
        cityfleet operator delete dispatch
    """
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("nobody to ask here", ExitCode.USAGE, "--yes, if you mean it")
        typer.confirm(f"Delete {', '.join(operators)}?", abort=True)
    with connect(registry, config, data) as client:
        for operator in operators:
            client.operators.DeleteOperator(pb.DeleteOperatorRequest(name=f"operators/{operator}"), timeout=CALL_S)


@app.command()
def rotate(
    operator: NameArgument,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Give an account a new token and print it, once; the old one, and connections made by it, end.

    Example:
        cityfleet operator rotate dispatch
    """
    with connect(registry, config, data) as client:
        request = pb.RotateOperatorTokenRequest(name=f"operators/{operator}")
        rotated = client.operators.RotateOperatorToken(request, timeout=CALL_S)
    _show_with_token(rotated.operator, rotated.token, output)


def _pages(client: RegistryClient) -> Iterator[pb.Operator]:
    request = pb.ListOperatorsRequest(page_size=1000)
    while True:
        page = client.operators.ListOperators(request, timeout=CALL_S)
        yield from page.operators
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _show_with_token(operator: pb.Operator, token: str, output: OutputFormat) -> None:
    show([_row(operator, output) | {"token": token}], COLUMNS, output, name="operator")
    if output is OutputFormat.TABLE:
        print(
            f"\nuser name: operator:{operator.name.removeprefix('operators/')}\ntoken: {token}\nIt is shown this once."
        )
    elif output in (OutputFormat.NAME, OutputFormat.CSV):
        print(f"token: {token}", file=sys.stderr)


def _row(operator: pb.Operator, output: OutputFormat) -> dict[str, Any]:
    has_lists = output in (OutputFormat.JSON, OutputFormat.YAML)
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
