"""A command that talks to a registry: which one, and as whom, every such command is told in the same way."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from cli.registry_client import RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption

P = ParamSpec("P")
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "registry": (RegistryOption, ""),
    "config": (ConfigOption, None),
    "data": (DataOption, None),
}


def connected(command: Callable[Concatenate[RegistryClient, P], None]) -> Callable[..., None]:
    """The command with a client, open as long as it runs, and with --registry, --config and --data behind its options.

    Args: command: takes the client first; the rest are its arguments and options, as Typer has them.
    """

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        where = [given.pop(name) for name in _OPTIONS]
        with connect(*where) as client:
            command(client, *args, **given)

    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    own += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _OPTIONS.items()
    ]
    # What Typer reads.
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in own}
    return run
