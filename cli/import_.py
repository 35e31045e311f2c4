"""`cityfleet import`: many devices at once."""

import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cityfleet.registry.v1 import device_pb2 as pb
from cli.errors import CommandError, ExitCode
from cli.import_file import RowError, open_source, read_rows
from cli.import_stream import ImportStream
from cli.output import OutputFormat, OutputOption, show
from cli.registry_client import RegistryOption, connect
from cli.settings import ConfigOption, DataOption

app = typer.Typer(help="Import from files.", no_args_is_help=True)
COLUMNS = ("rows", "created", "unchanged", "failed", "seconds", "rows_per_s")
ERRORS_SHOWN = 20


@app.callback()
def root() -> None:
    """Import from files."""


@app.command("devices")
def import_devices(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A .csv or .ndjson file; `-` for standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, but create nothing.")] = False,
    tokens_out: Annotated[
        Path | None, typer.Option(help="Where the tokens made for new devices are added (CSV, mode 0600).")
    ] = None,
    errors_out: Annotated[
        Path | None, typer.Option(help="Where to write the rows that failed, with field and reason (CSV).")
    ] = None,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Register the devices of a file: bad rows are reported, the good ones are created.

    It may be run again: a device that is there already and the same counts as unchanged. Gateways and the devices
    behind them may come in any order. Exit code 5 if any row failed.

    Examples:
        cityfleet import devices fleet.csv --dry-run
        cityfleet import devices fleet.csv --tokens-out tokens.csv --errors-out bad.csv
        jq -c '.[]' fleet.json | cityfleet import devices - --tokens-out tokens.csv

    CSV has a head: device_id and device_type, then any of display_name, gateway, ward_code, site, latitude, longitude,
    external_id, token, labels.KEY. NDJSON has the same keys, and `labels` as an object. Rows without a token get one,
    written to --tokens-out.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    shown = 0
    with ExitStack() as stack:
        file, kind = stack.enter_context(open_source(source))
        rows = read_rows(file, kind)
        if not dry_run and tokens_out is None:
            rows = _with_own_token(rows)
        tokens = stack.enter_context(_open_tokens(tokens_out)) if tokens_out and not dry_run else None
        errors = stack.enter_context(_open_report(errors_out)) if errors_out else None
        write_token = csv.writer(tokens, lineterminator="\n").writerow if tokens else None
        write_error = csv.writer(errors, lineterminator="\n").writerow if errors else None
        if write_error:
            write_error(RowError.__struct_fields__)
        client = stack.enter_context(connect(registry, config, data))
        progress = stack.enter_context(_progress())
        task = progress.add_task("devices", total=_count_lines(source, kind))
        for verdict in ImportStream(rows, dry_run).run(client):
            counts[verdict.outcome] += 1
            progress.advance(task)
            if verdict.token and write_token:
                write_token((verdict.device_id, verdict.token))
            for error in verdict.errors:
                if write_error:
                    write_error([getattr(error, name) for name in RowError.__struct_fields__])
                elif shown < ERRORS_SHOWN:
                    shown += 1
                    progress.console.print(_sentence(error), markup=False, highlight=False, soft_wrap=True)
    _show_summary(counts, time.monotonic() - started, dry_run, output)
    if counts["failed"]:
        remedy = f"see {errors_out}" if errors_out else "mend them and run it again; --errors-out FILE lists them all"
        raise CommandError(f"{counts['failed']} of {counts.total()} rows failed", ExitCode.PARTIAL, remedy)


def _with_own_token(rows: Iterator[pb.ImportRow | RowError]) -> Iterator[pb.ImportRow | RowError]:
    """Refuse rows without a token: the one that would be made for them would be lost."""
    for row in rows:
        if isinstance(row, RowError) or row.token:
            yield row
        else:
            device_id = row.device.name.removeprefix("devices/")
            text = "no token, and nowhere to write a new one; name a file: --tokens-out FILE"
            yield RowError(row.row, device_id, "token", "TOKEN_WOULD_BE_LOST", text)


def _open_tokens(path: Path) -> IO[str]:
    """Open for adding: an earlier run's tokens exist nowhere else."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}", ExitCode.USAGE) from exc
    os.fchmod(descriptor, 0o600)
    file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
    if os.fstat(descriptor).st_size == 0:
        file.write("device_id,token\n")
    return file


def _open_report(path: Path) -> IO[str]:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}", ExitCode.USAGE) from exc


def _count_lines(source: str, kind: str) -> int | None:
    """About how many rows there are; None if that is not known before the end."""
    if source == "-":
        return None
    with Path(source).open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return lines - 1 if kind == "csv" else lines


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _sentence(error: RowError) -> str:
    device = f" ({error.device_id})" if error.device_id else ""
    field = f"{error.field}: " if error.field else ""
    return f"row {error.row}{device}: {field}{error.description} [{error.reason}]"


def _show_summary(counts: Counter[str], seconds: float, dry_run: bool, output: OutputFormat) -> None:
    row = {
        "rows": counts.total(),
        "created": counts["created"],
        "unchanged": counts["unchanged"],
        "failed": counts["failed"],
        "seconds": round(seconds, 2),
        "rows_per_s": round(counts.total() / seconds) if seconds else 0,
        "dry_run": dry_run,
    }
    if output is OutputFormat.NAME:
        print(row["created"])
        return
    sys.stderr.flush()
    show([row], COLUMNS, output, name="rows", title="Dry run: nothing was created." if dry_run else "")
