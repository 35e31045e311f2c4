"""`cityfleet import`: many devices at once."""

import csv
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import msgspec
import typer

from cli.errors import CommandError, ExitCode
from cli.import_file import DEVICES, FileRows, open_source
from cli.import_report import (
    DryRunOption,
    ErrorReport,
    ErrorsOption,
    SourceArgument,
    UpdateOption,
    fail_if_any,
    progress_bar,
    show_summary,
    size_of,
)
from cli.import_sites import import_sites
from cli.import_state import LateRows, StateFile, claimed, new_state
from cli.import_stream import Answered, ImportStream, Options, Verdict
from cli.operation_wait import say_operation
from cli.output import OutputFormat, OutputOption
from cli.registry_client import RegistryOption, address_of, connect
from cli.settings import ConfigOption, DataOption
from cli.token_file import open_tokens

app = typer.Typer(help="Import from files.", no_args_is_help=True)
CHECKPOINT_S = 1.0


@app.callback()
def root() -> None:
    """Import from files."""


@app.command("devices")
def import_devices(
    source: SourceArgument,
    dry_run: DryRunOption = False,
    tokens_out: Annotated[
        Path | None, typer.Option(help="Where the tokens made for new devices are added (CSV, mode 0600).")
    ] = None,
    errors_out: ErrorsOption = None,
    update_existing: UpdateOption = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, although an import of the file was interrupted.")
    ] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Register the devices of a file: bad rows are reported, the good ones are created.

    It may be run again: a device that is there already and the same counts as unchanged. An import that was
    interrupted goes on where it stopped when the same command is given again (FILE.import-state remembers). Gateways
    and the devices behind them may come in any order. Exit code 5 if any row failed. While it runs it is an operation:
    `cityfleet operation get|cancel|wait`, also for others.

    Examples:
        cityfleet import devices fleet.csv --dry-run
        cityfleet import devices fleet.csv --tokens-out tokens.csv --errors-out bad.csv
        cityfleet import devices moved.csv --update-existing
        jq -c '.[]' fleet.json | cityfleet import devices - --tokens-out tokens.csv

    CSV has a head: device_id and device_type, then any of display_name, gateway, ward_code, site_id, site, latitude,
    longitude, hardware_revision, external_id, token, labels.KEY. NDJSON has the same keys, and `labels` as an object.
    Only the columns that are there are compared with a device that exists. New devices without a token get one,
    written to --tokens-out.
    """
    with ExitStack() as stack:
        file, kind = stack.enter_context(open_source(source))
        rows = FileRows(file, kind)
        address = address_of(registry, config, data)
        is_resumable = source != "-" and not dry_run
        if is_resumable:
            stack.enter_context(claimed(file, source))
        run = _Run(stack, address, Path(source) if is_resumable else None, rows, restart=restart)
        run.open_outputs(None if dry_run else tokens_out, errors_out)
        options = Options(dry_run, update_existing, run.state.token if tokens_out and not dry_run else None)
        stream = ImportStream(rows, run.late, options, run.state.late_done if run.state.is_file_done else None)
        progress = stack.enter_context(progress_bar())
        task = progress.add_task("devices", total=size_of(file), completed=run.state.position.offset)
        client = stack.enter_context(connect(registry, config, data))
        for answered in stream.run(client):
            say_operation(answered.operation)
            for verdict in answered.verdicts:
                run.take(verdict)
            run.checkpoint(answered)
            if answered.position is not None:
                progress.update(task, completed=answered.position.offset)
        run.finish()
    show_summary(run.counts, time.monotonic() - run.started, run.rows_now, dry_run, output)
    fail_if_any(run.counts, errors_out)


app.command("sites")(import_sites)


class _Run:
    """What an import keeps on disk while it runs: its state, its late rows, the tokens and the errors."""

    def __init__(self, stack: ExitStack, address: str, source: Path | None, rows: FileRows, *, restart: bool) -> None:
        """Raises: CommandError if the state is of another registry, or of a file that has changed since."""
        self._stack = stack
        self._file: StateFile | None = None
        self._late_path: Path | None = None
        self.state = new_state(address)
        if source is not None:
            self._file = StateFile(source.with_name(source.name + ".import-state"))
            self._late_path = source.with_name(source.name + ".import-late")
            self._resume(source, rows, address, restart=restart)
        self.late = self._open_late()
        self.counts: Counter[str] = Counter(self.state.counts)
        self.rows_now = 0
        self.started = time.monotonic()
        self._saved = self.started - CHECKPOINT_S
        self._tokens: IO[str] | None = None
        self._written: set[str] = set()
        self._errors: ErrorReport | None = None

    def _resume(self, source: Path, rows: FileRows, address: str, *, restart: bool) -> None:
        assert self._file is not None
        earlier = None if restart else self._file.load()
        if earlier is not None:
            remedy = "--restart begins anew: rows that are there already count as unchanged"
            if earlier.registry != address:
                text = f"{source}: the import that stopped was into {earlier.registry}, this one is into {address}"
                raise CommandError(text, ExitCode.USAGE, remedy)
            if not rows.skip_to(earlier.position):
                text = f"{source} has changed since the import that stopped at row {earlier.position.row}"
                raise CommandError(text, ExitCode.USAGE, remedy)
            self.state = earlier
            if earlier.position.row:
                print(f"goes on after row {earlier.position.row}", file=sys.stderr)
            return
        try:
            self._file.save(self.state)  # before the first row: its secret makes the tokens
        except OSError as exc:
            self._file = self._late_path = None
            print(f"note: cannot write beside {source} ({exc.strerror}): interrupted, it begins anew", file=sys.stderr)

    def _open_late(self) -> LateRows:
        if self._late_path is None:
            return LateRows(self._stack.enter_context(tempfile.TemporaryFile()), 0)
        descriptor = os.open(self._late_path, os.O_RDWR | os.O_CREAT, 0o600)
        return LateRows(self._stack.enter_context(os.fdopen(descriptor, "r+b")), self.state.late_bytes)

    def open_outputs(self, tokens_out: Path | None, errors_out: Path | None) -> None:
        """Raises: CommandError."""
        if tokens_out:
            self._written = _written_ids(tokens_out) if self.state.position.offset else set()
            self._tokens = self._stack.enter_context(open_tokens(tokens_out))
        self._errors = ErrorReport(self._stack, errors_out, DEVICES, self.state.errors_bytes)

    def take(self, verdict: Verdict) -> None:
        self.counts[verdict.outcome] += 1
        self.rows_now += 1
        if verdict.token and self._tokens and verdict.device_id not in self._written:
            csv.writer(self._tokens, lineterminator="\n").writerow((verdict.device_id, verdict.token))
        for error in verdict.errors:
            assert self._errors is not None
            self._errors.add(error)

    def checkpoint(self, answered: Answered) -> None:
        state = msgspec.structs.replace(self.state, is_file_done=answered.position is None)
        if answered.position is not None:
            state = msgspec.structs.replace(state, position=answered.position)
        else:
            state = msgspec.structs.replace(state, late_done=answered.late_done)
        self.state = state
        if self._file is None or time.monotonic() < self._saved + CHECKPOINT_S:
            return
        self._saved = time.monotonic()
        if self._tokens:
            self._tokens.flush()
            os.fsync(self._tokens.fileno())
        self.state = msgspec.structs.replace(
            state,
            late_bytes=self.late.flush(),
            counts=dict(self.counts),
            errors_bytes=self._errors.flush() if self._errors else 0,
        )
        self._file.save(self.state)

    def finish(self) -> None:
        """The import is through: what was needed to go on is not needed any more."""
        if self._tokens:
            self._tokens.flush()
            os.fsync(self._tokens.fileno())
        if self._file is not None:
            self._file.remove()
        if self._late_path is not None:
            self._late_path.unlink(missing_ok=True)


def _written_ids(path: Path) -> set[str]:
    """Whose tokens an earlier run has written: a row that is sent again is not written again."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0] for row in csv.reader(file) if row}
    except FileNotFoundError:
        return set()
