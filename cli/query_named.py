"""A question by its name: which there are, and the SQL of one with wards, times and parameters."""

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.errors import CommandError, ExitCode
from cli.moment import moment_ms
from store.catalogue import View, catalogue, view_of

_NAME = re.compile(r"(?:ioc\.)?[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def is_name(text: str) -> bool:
    """Not a statement: one word."""
    return _NAME.fullmatch(text.strip()) is not None


def names(incomplete: str) -> list[str]:
    """For the shell's completion."""
    return [view.name for view in catalogue() if view.name.startswith(incomplete)]


def find(name: str) -> View:
    """Raises CommandError that names those that are alike."""
    view = view_of(name.strip().lower())
    if view is not None:
        return view
    known = [entry.name for entry in catalogue()]
    bare = name.strip().lower().removeprefix("ioc.")
    near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5)
    near += [entry for entry in known if bare in entry and entry not in near][:3]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise CommandError(f"there is no question `{name}`", ExitCode.NOT_FOUND, f"{meant}`cityfleet query --list`")


def statement(
    view: View, wards: Sequence[str], since: str | None, until: str | None, given: Sequence[str], limit: int | None
) -> str:
    """The SQL that asks it; all that a person gave stands in it as a literal. Raises CommandError.

    Args:
        since, until: for the parameters `from` and `to`, as `cli.moment` reads them; no `until`: now.
        given: `name=value` of any parameter.
    """
    values = _values(view, since, until, given)
    arguments = ", ".join(f"{name} = {values[name]}" for name, _ in view.parameters)
    sql = f"SELECT * FROM ioc.{view.name}" + (f"({arguments})" if arguments else "")  # noqa: S608
    if wards:
        if not view.has("ward_code"):
            raise CommandError(f"{view.name} is not by ward", ExitCode.USAGE, "leave --ward out")
        sql += f" WHERE ward_code IN ({', '.join(map(_literal, wards))})"
    return sql if limit is None else f"{sql} LIMIT {limit}"


def _values(view: View, since: str | None, until: str | None, given: Sequence[str]) -> dict[str, str]:
    types = dict(view.parameters)
    texts: dict[str, str] = {}
    for entry in given:
        name, mark, text = entry.partition("=")
        if not mark:
            raise CommandError(f"--param is NAME=VALUE, not {entry!r}", ExitCode.USAGE)
        texts[name.strip()] = text
    for name, option, moment in (("from", "--from", since), ("to", "--to", until)):
        if moment is not None:
            if name in texts:
                raise CommandError(f"{name} is given twice: {option} and --param", ExitCode.USAGE)
            texts[name] = moment
    for name in texts:
        if name not in types:
            takes = ", ".join(types) or "none"
            raise CommandError(f"{view.name} has no parameter {name!r}; it takes: {takes}", ExitCode.USAGE)
    if "to" in types:
        texts.setdefault("to", "0s")
    missing = [name for name in types if name not in texts]
    if missing:
        ways = ["--from TIME" if name == "from" else f"--param {name}=VALUE" for name in missing]
        raise CommandError(f"{view.name} needs {', '.join(missing)}", ExitCode.USAGE, f"add {' '.join(ways)}")
    found = {name: _value(name, types[name], text) for name, text in texts.items()}
    if {"from", "to"} <= found.keys() and found["from"] >= found["to"]:
        raise CommandError("--from is not before --to", ExitCode.USAGE)
    return found


def _value(name: str, kind: str, text: str) -> str:
    if kind.startswith("DateTime"):
        at = datetime.fromtimestamp(moment_ms(text, name) // 1000, UTC)
        # As text in UTC: the parameter takes an expression's local text, whatever its zone.
        return f"'{at:%Y-%m-%d %H:%M:%S}'"
    if kind.startswith(("UInt", "Int", "Float", "Decimal")):
        if _NUMBER.fullmatch(text) is None:
            raise CommandError(f"{name} is a number, not {text!r}", ExitCode.USAGE)
        return text
    return _literal(text)


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def show_list(as_json: bool) -> None:
    """All that can be asked by name, a line each."""
    if as_json:
        for view in catalogue():
            print(msgspec.json.encode(_line(view)).decode())
        return
    table = _table("question", "name", "parameters", "about")
    for view in catalogue():
        names = " ".join(name for name, _ in view.parameters)
        table.add_row(*map(Text, (str(view.number or ""), view.name, names, view.title)))
    _print(table)


def describe(view: View, as_json: bool) -> None:
    """What it answers, its parameters and columns, an example."""
    about, sql = view.example
    if as_json:
        columns = [{"name": column.name, "type": column.type, "comment": column.comment} for column in view.columns]
        document = {**_line(view), "comment": view.text, "columns": columns, "example": sql}
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())
        return
    print(f"ioc.{view.name}\n\n{view.text}\n")
    if view.parameters:
        print("Parameters: " + ", ".join(f"{name} ({kind})" for name, kind in view.parameters) + "\n")
    table = _table("column", "type", "about")
    for column in view.columns:
        table.add_row(*map(Text, (column.name, column.type, column.comment)))
    _print(table)
    if sql:
        print(f"\nExample: {about}\n  {sql}" if about else f"\nExample:\n  {sql}")


def _line(view: View) -> Mapping[str, object]:
    parameters = [{"name": name, "type": kind} for name, kind in view.parameters]
    return {"name": view.name, "question": view.number or None, "parameters": parameters, "title": view.title}


def _table(*names: str) -> Table:
    return Table(*(Column(name) for name in names), box=None, pad_edge=False, header_style="bold")


def _print(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
