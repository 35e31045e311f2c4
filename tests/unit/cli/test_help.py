"""The help of every command there is: it says what the command does and shows how it is called."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cli.main import COMMANDS, app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(typer.main.get_command(app)))


def test_all_commands_are_found() -> None:
    assert len(ALL) > 70
    assert {path.split()[0] for path in ALL} == set(COMMANDS) - {"demo"}


@pytest.mark.parametrize("path", ALL)
def test_help_teaches_by_an_example(path: str) -> None:
    text = " ".join((ALL[path].help or "").split())
    assert text[:1].isupper()
    assert f"cityfleet {path}" in text


@pytest.mark.parametrize("path", ALL)
def test_every_option_says_what_it_is_for(path: str) -> None:
    options = [parameter for parameter in ALL[path].params if parameter.param_type_name == "option"]
    assert [each.name for each in options if not each.help] == []


_NOUNS = r"(account|device|group|metric|operator|savedquery|site|type|ward)"
_CHANGING = r"(create|update|delete|undelete|purge|decommission|add|remove|revoke|load|apply|rotate|rotate-token)"
TRIED = [path for path in ALL if re.fullmatch(f"apply|{_NOUNS} (token )?{_CHANGING}", path)]


@pytest.mark.parametrize("path", TRIED)
def test_what_changes_the_registry_can_be_tried(path: str) -> None:
    assert "--dry-run" in {flag for parameter in ALL[path].params for flag in parameter.opts}


def test_a_command_imports_only_what_it_needs() -> None:
    """A shell waits for it at every completion."""
    code = (
        "import sys, cli.main, cli.device; print(*[m for m in ('sqlalchemy', 'aiohttp', 'chdb') if m in sys.modules])"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
