"""Output as the user asked for it: a table for a person; json, yaml, ndjson, csv or bare names for machines.

Rows are printed as they come: a list of a million devices takes no more memory than one of a thousand.
"""

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


class OutputFormat(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NDJSON = "ndjson"
    CSV = "csv"
    NAME = "name"


OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="How to print the answer.")]

Row = Mapping[str, Any]
# Columns get the width of these first rows; what comes later and is wider moves its own line only.
TABLE_SAMPLE = 500


def show(
    rows: Iterable[Row],
    columns: Sequence[str],
    output: OutputFormat,
    *,
    name: str,
    title: str = "",
    wide: Sequence[str] = (),
    csv_columns: Sequence[str] = (),
) -> int:
    """Print rows as they come and return how many there were.

    Args:
        columns: what a table shows, in order; json, ndjson and yaml show every key of a row.
        name: the key whose value `-o name` prints.
        wide: columns that `-o wide` shows after `columns`.
        csv_columns: what csv shows; nothing: as `wide`.
    """
    counted = _Counted(rows)
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        _show_table(counted, (*columns, *wide) if output is OutputFormat.WIDE else columns, title)
    elif output is OutputFormat.CSV:
        shown = csv_columns or (*columns, *wide)
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(shown)
        writer.writerows([_exact(row.get(column)) for column in shown] for row in counted)
    elif output is OutputFormat.NAME:
        for row in counted:
            print(row[name])
    elif output is OutputFormat.JSON:
        _show_json_array(counted)
    elif output is OutputFormat.YAML:
        for row in counted:
            print(msgspec.yaml.encode([row]).decode(), end="")
        if not counted.rows:
            print("[]")
    else:
        for row in counted:
            print(msgspec.json.encode(row).decode())
    sys.stdout.flush()
    return counted.rows


def show_one(
    row: Row,
    columns: Sequence[str],
    output: OutputFormat,
    *,
    name: str,
    wide: Sequence[str] = (),
    csv_columns: Sequence[str] = (),
) -> None:
    """Print the one thing that was asked for: json and yaml without a list round it."""
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document(row, output)
    else:
        show([row], columns, output, name=name, wide=wide, csv_columns=csv_columns)


def show_document(document: Any, output: OutputFormat) -> None:
    """Print one value as json, ndjson or yaml."""
    if output is OutputFormat.YAML:
        print(msgspec.yaml.encode(document).decode(), end="")
    elif output is OutputFormat.NDJSON:
        print(msgspec.json.encode(document).decode())
    else:
        print(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


class _Counted:
    """Rows, counted as they go by."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._source = iter(rows)
        self.rows = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._source:
            self.rows += 1
            yield row


def _show_table(rows: Iterable[Row], columns: Sequence[str], title: str) -> None:
    source = iter(rows)
    first = list(itertools.islice(source, TABLE_SAMPLE))
    after = next(source, None)
    if after is None:
        table = Table(
            *columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        for row in first:
            table.add_row(*(Text(_cell(row.get(column))) for column in columns))  # Text: `dB[mW]` is no markup
        # A file has no edge to fold a table at.
        Console(width=None if sys.stdout.isatty() else 10_000).print(table)
        return
    if title:
        print(title)
    head = {column: column for column in columns}
    widths = [max(cell_len(_cell(row.get(column))) for row in (head, *first)) for column in columns]
    for row in itertools.chain((head,), first, (after,), source):
        cells = [_cell(row.get(column)) for column in columns]
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True))
        print("  ".join(padded).rstrip())


def _show_json_array(rows: Iterable[Row]) -> None:
    opening = "[\n"
    for row in rows:
        text = msgspec.json.format(msgspec.json.encode(row), indent=2).decode().replace("\n", "\n  ")
        print(f"{opening}  {text}", end="")
        opening = ",\n"
    print("[]" if opening == "[\n" else "\n]")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={entry}" for key, entry in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ",".join(map(_cell, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9g}" if abs(value) < 1e6 else f"{value:.0f}"  # degrees need more than the 6 digits of `g`
    return str(value)


def _exact(value: Any) -> str:
    """As `_cell`, but a number keeps all its digits: a program will read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else _cell(value)
