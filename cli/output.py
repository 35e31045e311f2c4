"""Output as the user asked for it: a table for a person, json, yaml, csv or bare names for machines."""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    NAME = "name"


OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print the answer.")]

Row = Mapping[str, Any]


def show(rows: Iterable[Row], columns: Sequence[str], output: OutputFormat, *, name: str, title: str = "") -> None:
    """Print rows.

    Args:
        columns: what a table and CSV show, in order; json and yaml show every key of a row.
        name: the key whose value `-o name` prints.
    """
    if output is OutputFormat.TABLE:
        table = Table(
            *columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        for row in rows:
            table.add_row(*(Text(_cell(row.get(column))) for column in columns))  # Text: `dB[mW]` is no markup
        # A file has no edge to fold a table at.
        Console(width=None if sys.stdout.isatty() else 10_000).print(table)
    elif output is OutputFormat.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_exact(row.get(column)) for column in columns] for row in rows)
    elif output is OutputFormat.NAME:
        for row in rows:
            print(row[name])
    else:
        show_document(list(rows), output)


def show_document(document: Any, output: OutputFormat) -> None:
    """Print one value as json or yaml."""
    if output is OutputFormat.YAML:
        print(msgspec.yaml.encode(document).decode(), end="")
    else:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={entry}" for key, entry in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


def _exact(value: Any) -> str:
    """As `_cell`, but a number keeps all its digits: a program will read it."""
    return repr(value) if isinstance(value, float) else _cell(value)
