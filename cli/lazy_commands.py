"""A command that imports its subcommands when they are wanted: what a person or a shell waits for at every call."""

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup


def lazy_commands(places: Mapping[str, str], hidden: tuple[str, ...] = ()) -> type[TyperGroup]:
    """A group of the commands at `places`: by name the `module:attribute` of a Typer or of a function."""

    class LazyCommands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*places, *super().list_commands(ctx)]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in places:
                return super().get_command(ctx, cmd_name)
            module, _, attribute = places[cmd_name].partition(":")
            found = getattr(importlib.import_module(module), attribute)
            if not isinstance(found, typer.Typer):
                made = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                made.command(hidden=cmd_name in hidden)(found)
                found = made
            command = typer.main.get_command(found)
            command.name = cmd_name
            return command

    return LazyCommands
