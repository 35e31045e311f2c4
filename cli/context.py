"""`cityfleet context`: several deployments, each with its registry, token and store."""

import os
from typing import Annotated

import msgspec
import typer

from cli.contexts import Contexts, DeploymentContext, context_names, contexts_path, read_contexts, write_contexts
from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show

app = typer.Typer(help="Contexts: which deployment the commands speak to.", no_args_is_help=True)
COLUMNS = ("current", "context", "registry", "store_url", "token_file")

NameArgument = Annotated[
    str, typer.Argument(metavar="CONTEXT", help="A name of your choice.", autocompletion=context_names)
]


@app.command("set")
def set_context(
    name: NameArgument,
    registry: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The registry.")] = None,
    token_file: Annotated[str | None, typer.Option(metavar="FILE", help="Holds your token and nothing else.")] = None,
    store_url: Annotated[str | None, typer.Option(metavar="URL", help="The store, for `cityfleet query`.")] = None,
    store_user: Annotated[str | None, typer.Option(metavar="USER", help="Who asks there. Default: reader.")] = None,
    store_password_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Holds his password and nothing else.")
    ] = None,
) -> None:
    """Make a context or change what is named of it. The first one becomes the current one.

    Examples:
        cityfleet context set hanoi --registry registry.ioc.example:50051 --token-file ~/.hanoi-token
        cityfleet context set lab --registry 127.0.0.1:50051
        cityfleet context set lab --store-url http://127.0.0.1:8123 --store-password-file ~/.lab-reader
    """
    path = contexts_path(os.environ)
    stored = read_contexts(path)
    given = {
        "registry": registry,
        "token_file": token_file,
        "store_url": store_url,
        "store_user": store_user,
        "store_password_file": store_password_file,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise CommandError("nothing to set", ExitCode.USAGE, "name a field, as in --registry HOST:PORT")
    changed = msgspec.structs.replace(stored.contexts.get(name, DeploymentContext()), **changes)
    write_contexts(path, Contexts(stored.current or name, stored.contexts | {name: changed}))


@app.command()
def use(name: NameArgument) -> None:
    """Make it the one that commands speak to when nothing else is said.

    Example:
        cityfleet context use hanoi

    For one command: `cityfleet --context lab device list`, or CITYFLEET_CONTEXT=lab.
    """
    path = contexts_path(os.environ)
    stored = read_contexts(path)
    _known(stored, name)
    write_contexts(path, Contexts(name, stored.contexts))


@app.command("list")
def list_contexts(output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all contexts; `*` is the current one.

    Example:
        cityfleet context list
    """
    stored = read_contexts(contexts_path(os.environ))
    rows = (
        {
            "current": "*" if name == stored.current else "",
            "context": name,
            "registry": context.registry,
            "store_url": context.store_url,
            "token_file": context.token_file,
        }
        for name, context in sorted(stored.contexts.items())
    )
    show(rows, COLUMNS, output, name="context")


@app.command()
def delete(name: NameArgument) -> None:
    """Forget a context; the deployment and the token file stay.

    Example:
        cityfleet context delete lab
    """
    path = contexts_path(os.environ)
    stored = read_contexts(path)
    _known(stored, name)
    left = {other: context for other, context in stored.contexts.items() if other != name}
    write_contexts(path, Contexts("" if stored.current == name else stored.current, left))


def _known(stored: Contexts, name: str) -> None:
    if name not in stored.contexts:
        known = ", ".join(sorted(stored.contexts)) or "none yet"
        raise CommandError(f"there is no context `{name}`; known: {known}", ExitCode.NOT_FOUND)
