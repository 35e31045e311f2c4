"""What an import says: the rows that failed, how far it is, and what became of all of them."""

import csv
import os
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from cli.errors import CommandError, ExitCode
from cli.import_file import Noun, RowError
from cli.output import OutputFormat, show

COLUMNS = ("rows", "created", "updated", "unchanged", "failed", "seconds", "rows_per_s")
ERRORS_SHOWN = 20

SourceArgument = Annotated[str, typer.Argument(metavar="FILE", help="A .csv or .ndjson file; `-` for standard input.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check every row, but create nothing.")]
ErrorsOption = Annotated[
    Path | None,
    typer.Option("--errors-out", help="Where to write the rows that failed, with field and reason (CSV)."),
]
UpdateOption = Annotated[bool, typer.Option("--update-existing", help="Bring what is there to the state of its row.")]


class ErrorReport:
    """The rows that failed: all of them in a file, or without one the first few on standard error."""

    def __init__(self, stack: ExitStack, path: Path | None, noun: Noun, size_bytes: int = 0) -> None:
        """Args: size_bytes: what an earlier run has written for good; 0: begin it anew. Raises: CommandError."""
        self._file: IO[str] | None = None
        self._shown = 0
        if path is not None:
            self._file = stack.enter_context(_open(path, size_bytes))
            if not size_bytes:
                self._write("row", noun.id_column, "field", "reason", "description")

    def add(self, error: RowError) -> None:
        if self._file is not None:
            self._write(str(error.row), error.resource_id, error.field, error.reason, error.description)
        elif self._shown < ERRORS_SHOWN:
            self._shown += 1
            Console(stderr=True).print(_sentence(error), markup=False, highlight=False, soft_wrap=True)

    def flush(self) -> int:
        """Returns the size in bytes."""
        if self._file is None:
            return 0
        self._file.flush()
        return self._file.tell()

    def _write(self, *cells: str) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(cells)  # type: ignore[arg-type]


def progress_bar() -> Progress:
    """In bytes of the file; silent where nobody watches."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def size_of(file: BinaryIO) -> int | None:
    """In bytes; None for a pipe."""
    found = os.fstat(file.fileno())
    return found.st_size or None


def show_summary(counts: Counter[str], seconds: float, rows_now: int, dry_run: bool, output: OutputFormat) -> None:
    """Args: rows_now: without those of an earlier run that this one went on with."""
    row = {
        "rows": counts.total(),
        "created": counts["created"],
        "updated": counts["updated"],
        "unchanged": counts["unchanged"],
        "failed": counts["failed"],
        "seconds": round(seconds, 2),
        "rows_per_s": round(rows_now / seconds) if seconds else 0,
        "dry_run": dry_run,
    }
    if output is OutputFormat.NAME:
        print(row["created"])
        return
    sys.stderr.flush()
    show([row], COLUMNS, output, name="rows", title="Dry run: nothing was created." if dry_run else "")


def fail_if_any(counts: Counter[str], errors_out: Path | None) -> None:
    """Raises: CommandError if a row failed."""
    if counts["failed"]:
        remedy = f"see {errors_out}" if errors_out else "mend them and run it again; --errors-out FILE lists them all"
        raise CommandError(f"{counts['failed']} of {counts.total()} rows failed", ExitCode.PARTIAL, remedy)


def _open(path: Path, size_bytes: int) -> IO[str]:
    try:
        file = path.open("r+" if size_bytes and path.exists() else "w", encoding="utf-8", newline="")
        file.truncate(size_bytes)
        file.seek(0, os.SEEK_END)
    except OSError as exc:
        raise CommandError(f"cannot write {path}: {exc.strerror}", ExitCode.USAGE) from exc
    return file


def _sentence(error: RowError) -> str:
    resource = f" ({error.resource_id})" if error.resource_id else ""
    field = f"{error.field}: " if error.field else ""
    return f"row {error.row}{resource}: {field}{error.description} [{error.reason}]"
