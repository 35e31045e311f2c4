"""`cityfleet store reference`: thresholds, stations, indices and the like that answers rest on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption
from cli.store_remote import RemoteStore, settings_of
from store import reference_data
from store.reference_data import TABLES

app = typer.Typer(help="Thresholds, stations, indices and the like that answers rest on.")


@app.command("list")
def list_tables(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List the tables, with how many rows came with cityfleet and how many the operator applied.

    Example: cityfleet store reference list
    """
    store = RemoteStore(settings_of(context, config, data))
    rows: list[Mapping[str, Any]] = []
    try:
        for table in TABLES:
            counts = store.ask(
                f"SELECT countIf(origin = 'cityfleet'), countIf(origin != 'cityfleet') FROM cityfleet.{table} FINAL"  # noqa: S608
            )
            own, operator = counts.split("\t")
            rows.append(
                {"table": table, "cityfleet": int(own), "operator": int(operator), "key": ", ".join(TABLES[table])}
            )
    finally:
        store.close()
    show(rows, ["table", "cityfleet", "operator", "key"], output, name="table")


@app.command("show")
def show_table(
    context: typer.Context,
    table: Annotated[str, typer.Argument(help="As in `reference list`.")],
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the rows of a table. With -o csv they are a file that `apply` takes.

    Example: cityfleet store reference show thresholds -o csv
    """
    _known(table)
    store = RemoteStore(settings_of(context, config, data))
    try:
        # A file is to be applied again: as the operator's.
        left_out = {"version", "is_deleted"} | ({"origin"} if output is OutputFormat.CSV else set())
        columns = [name for name in reference_data.types_of(store.ask, table) if name not in left_out]
        answer = store.ask(
            f"SELECT {', '.join(columns)} FROM cityfleet.{table} FINAL ORDER BY {', '.join(TABLES[table])}"  # noqa: S608
        )
    finally:
        store.close()
    rows = [dict(zip(columns, map(_plain, line.split("\t")), strict=True)) for line in answer.splitlines()]
    show(rows, columns, output, name=columns[0])


@app.command("apply")
def apply_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV with a head line; the columns of the key must be there.", exists=True)
    ],
    table: Annotated[str, typer.Option("--table", help="Where the rows go; without: as the file is named.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Put rows of your own into a table. A row with the key of another replaces it; is_deleted = 1 takes it away.

    Your rows win over those that come with cityfleet, now and with later versions.

    Example: cityfleet store reference apply road_segments.csv
    """
    table = table or file.stem
    _known(table)
    store = RemoteStore(settings_of(context, config, data))
    try:
        applied = reference_data.apply(store.ask, table, file.read_text(encoding="utf-8"))
    except (reference_data.ReferenceError, UnicodeDecodeError) as exc:
        raise CommandError(f"{file}: {exc}") from exc
    finally:
        store.close()
    print(f"{applied} rows applied to {table}.")


def _plain(value: str) -> str:
    """Of tab-separated text; there are no other escapes, since `apply` takes none."""
    return "" if value == "\\N" else value.replace("\\'", "'")


def _known(table: str) -> None:
    if table not in TABLES:
        raise CommandError(f"there is no table {table!r} of reference data", remedy=f"one of {', '.join(TABLES)}")
