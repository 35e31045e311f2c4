"""The command's root: gathers the nouns and turns every error into a sentence and an exit code."""

import os
import sys
from typing import Annotated

import typer

from cli.contexts import context_names
from cli.errors import exit_code_of
from cli.lazy_commands import lazy_commands

# In the order of the help. A command's module is imported when it is wanted: all of them take a second.
COMMANDS = {
    "up": "cli.up:up",
    "ingest": "cli.ingest:ingest",
    "registry": "cli.registry:registry",
    "share": "cli.share:share",
    "query": "cli.query:query",
    "apply": "cli.apply:apply",
    "diff": "cli.apply:diff",
    "doctor": "cli.doctor:doctor",
    "replay": "cli.replay:replay",
    "backup": "cli.backup:backup",
    "restore": "cli.restore:restore",
    "store": "cli.store:app",
    "metric": "cli.metric:app",
    "type": "cli.type_:app",
    "device": "cli.device:app",
    "site": "cli.site:app",
    "ward": "cli.ward:app",
    "group": "cli.group:app",
    "savedquery": "cli.savedquery:app",
    "account": "cli.account:app",
    "audit": "cli.audit:app",
    "context": "cli.context:app",
    "operator": "cli.operator_:app",
    "import": "cli.import_:app",
    "export": "cli.export:app",
    "operation": "cli.operation:app",
    "quarantine": "cli.quarantine:app",
    "alarm": "cli.alarm:app",
    "demo": "cli.demo:demo",
}

app = typer.Typer(
    name="cityfleet",
    cls=lazy_commands(COMMANDS, hidden=("demo",)),
    help="Device management and telemetry for a city: sensors over MQTT and gRPC into ClickHouse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
