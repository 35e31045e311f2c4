"""`cityfleet store rollup`: how far the rollups are, and computing them again."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption
from cli.store_remote import RemoteStore, settings_of
from store.rollup import ledger
from store.rollup.step import Step, load

app = typer.Typer(help="See how far the rollups are; have them computed again.")
_POLL_S = 1.0


@app.command()
def status(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show, step by step, what is computed and what is due.

    A cell is one bucket of time (of 256 devices, for steps by devices). Open buckets are due too.

    Example: cityfleet store rollup status -o json
    """
    store = RemoteStore(settings_of(context, config, data))
    rows: list[Mapping[str, Any]] = []
    try:
        for step in load():
            found = ledger.progress(store.ask, step)
            rows.append(
                {
                    "step": step.name,
                    "target": step.target,
                    "done": found.done,
                    "due": found.due,
                    "oldest_due": _text(found.oldest_due_s),
                    "newest_done": _text(found.newest_done_s),
                }
            )
    finally:
        store.close()
    show(rows, ["step", "target", "done", "due", "oldest_due", "newest_done"], output, name="step")


@app.command()
def rebuild(
    context: typer.Context,
    start: Annotated[str, typer.Option("--from", help="Event time, ISO 8601; without a zone: UTC.")],
    end: Annotated[str, typer.Option("--to", help="Event time, exclusive.")],
    name: Annotated[
        str, typer.Option("--step", help="One step and what follows from it; all from the readings on.")
    ] = "",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait; 0: do not wait.", min=0)] = 600.0,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Have the windows of a time computed again from what they are made of, and all that follows from them.

    The store role does the work, beside its other; this waits for it. What it is made of must still be there.

    Example: cityfleet store rollup rebuild --from 2026-09-01 --to 2026-09-02
    """
    settings = settings_of(context, config, data)
    start_s, end_s = _instant(start), _instant(end)
    if end_s <= start_s:
        raise CommandError("--to must be after --from")
    steps = load()
    chosen = [step for step in steps if (step.name == name if name else step.reads_readings)]
    if not chosen:
        raise CommandError(f"there is no step {name!r}", remedy=f"one of {', '.join(step.name for step in steps)}")
    kept_days = settings.store.retention.readings_days
    if kept_days and start_s < time.time() - kept_days * 86400 and any(step.needs_readings for step in chosen):
        raise CommandError(
            f"readings are kept for {kept_days} days only: rollups of before cannot be made again",
            remedy="begin later, or name a step that is made from rollups alone with --step",
        )
    store = RemoteStore(settings)
    try:
        cells = sum(ledger.note_span(store.ask, step, start_s, end_s, steps) for step in chosen)
        print(f"{cells} cells are due.")
        if cells and timeout_s:
            _wait(store, chosen, start_s, end_s, timeout_s)
    finally:
        store.close()


def _wait(store: RemoteStore, chosen: list[Step], start_s: int, end_s: int, timeout_s: float) -> None:
    began_s = time.monotonic()
    while any(ledger.is_due(store.ask, step, start_s, end_s) for step in chosen):
        if time.monotonic() - began_s > timeout_s:
            raise CommandError("not done yet", remedy="see `cityfleet store rollup status`; the work goes on")
        time.sleep(_POLL_S)
    print("Done; what follows from it is computed next.")


def _instant(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(f"{text!r} is no time", remedy="like 2026-09-01 or 2026-09-01T07:00:00+07:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_s else ""
