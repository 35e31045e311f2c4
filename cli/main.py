"""The command's root: gathers the nouns and turns every error into a sentence and an exit code."""

import os
import sys
from typing import Annotated

import typer

from cli import (
    account,
    audit,
    context,
    device,
    export,
    group,
    import_,
    metric,
    operation,
    operator_,
    quarantine,
    savedquery,
    site,
    store,
    type_,
    ward,
)
from cli.apply import apply, diff
from cli.backup import backup
from cli.completion import context_names
from cli.demo import demo
from cli.doctor import doctor
from cli.errors import exit_code_of
from cli.ingest import ingest
from cli.query import query
from cli.registry import registry
from cli.replay import replay
from cli.restore import restore
from cli.up import up

app = typer.Typer(
    name="cityfleet",
    help="Device management and telemetry for a city: sensors over MQTT and gRPC into ClickHouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(up)
app.command()(ingest)
app.command()(registry)
app.command()(query)
app.command()(apply)
app.command()(diff)
app.command()(doctor)
app.command()(replay)
app.command()(backup)
app.command()(restore)
app.add_typer(store.app, name="store")
app.add_typer(metric.app, name="metric")
app.add_typer(type_.app, name="type")
app.add_typer(device.app, name="device")
app.add_typer(site.app, name="site")
app.add_typer(ward.app, name="ward")
app.add_typer(group.app, name="group")
app.add_typer(savedquery.app, name="savedquery")
app.add_typer(account.app, name="account")
app.add_typer(audit.app, name="audit")
app.add_typer(context.app, name="context")
app.add_typer(operator_.app, name="operator")
app.add_typer(import_.app, name="import")
app.add_typer(export.app, name="export")
app.add_typer(operation.app, name="operation")
app.add_typer(quarantine.app, name="quarantine")
app.command(hidden=True)(demo)


@app.callback()
def root(
    context_name: Annotated[
        str,
        typer.Option(
            "--context",
            metavar="NAME",
            envvar="CITYFLEET_CONTEXT",
            help="Deployment to speak to; see `context`.",
            autocompletion=context_names,
        ),
    ] = "",
) -> None:
    """Device management and telemetry for a city: sensors over MQTT and gRPC into ClickHouse."""
    if context_name:  # the environment carries it to whoever connects
        os.environ["CITYFLEET_CONTEXT"] = context_name


def main() -> None:
    """Console entry point. Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 permission, 5 partial failure."""
    try:
        app(prog_name="cityfleet", standalone_mode=True)
    except Exception as exc:
        sys.exit(exit_code_of(exc))


if __name__ == "__main__":
    main()
