"""`cityfleet apply` and `cityfleet diff`: what there shall be, in files."""

import csv
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import msgspec
import typer

from cli.apply_plan import Action, Step, levels, parts, perform, plan, prunable, read_items, untried
from cli.confirm import confirm
from cli.errors import CommandError, ExitCode
from cli.manifest_calls import at_once
from cli.manifest_kinds import OPERATOR
from cli.options import DryRunOption, LabelOption, YesOption, labels_of
from cli.output import OutputFormat, OutputOption, show
from cli.registry_client import RegistryOption, connect
from cli.settings import ConfigOption, DataOption
from cli.token_file import open_tokens

FilesOption = Annotated[
    list[str], typer.Option("--file", "-f", metavar="FILE", help="YAML, TOML or JSON; a folder of them; `-` for stdin.")
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Delete the devices and sites with all --label that no file has.")
]
COLUMNS = ("outcome", "resource", "changed")
_OUTCOMES = {
    Action.CREATE: "created",
    Action.CHANGE: "changed",
    Action.DELETE: "deleted",
    Action.NOTHING: "unchanged",
}
# The verb that makes a new token.
_NEW_TOKEN = {"device": "rotate-token", "operator": "rotate"}
_SIGNS = {Action.CREATE: "+", Action.CHANGE: "~", Action.DELETE: "-"}


def apply(
    files: FilesOption,
    prune: PruneOption = False,
    label: LabelOption = None,
    tokens_out: Annotated[
        Path | None, typer.Option(help="Where the tokens of new devices and operators are added (CSV, mode 0600).")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Bring the registry to the state in files: create what is not there, change what differs, leave the rest alone.

    A document says what it is about by its id: device_id, site_id, group_id, saved_query_id, account_id, operator,
    metric, or device_type. Keys that it leaves out stay as they are (a device type is whole: they get their default).
    What `get -o yaml` prints can be applied; its etag, if it is left in, refuses what somebody else has changed since.
    `devices` of a group names all its devices: others are taken out.

    Examples:
        cityfleet apply -f fleet/ --dry-run
        cityfleet apply -f fleet/ --tokens-out tokens.csv
        cityfleet apply -f fleet/ --prune --label managed-by=git
        cityfleet device get rain-07 -o yaml | sed s/00070/00082/ | cityfleet apply -f -

    A file:
        site_id: bts-0042
        kind: bts
        latitude: 21.0287
        longitude: 105.8525
        ---
        device_id: rain-07
        device_type: gauge-rain
        site_id: bts-0042
        labels: {owner: tnmt}
        ---
        group_id: pilot
        devices: [rain-07]
    """
    items, labels = read_items(files), _prune_labels(label, prune=prune)
    with connect(registry, config, data) as client:
        steps = plan(client, items)
        steps += prunable(client, items, labels) if prune else []
        if not dry_run:
            deleted = sum(step.action is Action.DELETE for step in steps)
            confirm("Delete", deleted, "thing", yes=yes)
            touched = sum(step.action in (Action.CREATE, Action.CHANGE) for step in steps)
            confirm("Create or change", touched, "thing", yes=yes)
        tokens = open_tokens(tokens_out) if tokens_out and not dry_run else None
        left_out = untried(items, steps) if dry_run else set()
        failures: dict[str, str] = {}
        tokenless: Counter[str] = Counter()
        for level in levels([step for step in steps if step.name not in left_out]):
            together = list(parts(level))
            answers = at_once(lambda part: perform(client, part, dry_run=dry_run), together)
            for part, outcomes in zip(together, answers, strict=True):
                for step, (token, failure) in zip(part, outcomes, strict=True):
                    if failure:
                        failures[step.name] = failure
                        print(f"{step.name}: {failure}{f' ({step.where})' if step.where else ''}", file=sys.stderr)
                    if token and not _kept(tokens, step, token):
                        tokenless[step.kind.word] += 1
    if tokens is not None:
        os.fsync(tokens.fileno())
        tokens.close()
    _show_outcomes(steps, failures, output, dry_run=dry_run)
    for word, count in tokenless.items():
        said = f"new {word}s have no token that anybody knows; `cityfleet {word} {_NEW_TOKEN[word]} ID` makes one"
        print(f"{count} {said}", file=sys.stderr)
    if failures:
        raise CommandError(f"{len(failures)} of {len(steps)} failed", ExitCode.PARTIAL, "mend them and apply again")


def diff(
    files: FilesOption,
    prune: PruneOption = False,
    label: LabelOption = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 if anything differs.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    registry: RegistryOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show what `apply` would do, value by value: + created, ~ changed, - deleted.

    Examples:
        cityfleet diff -f fleet/
        cityfleet diff -f fleet/ --prune --label managed-by=git --exit-code
    """
    items, labels = read_items(files), _prune_labels(label, prune=prune)
    with connect(registry, config, data) as client:
        steps = plan(client, items)
        steps += prunable(client, items, labels) if prune else []
    differing = [step for step in steps if step.action is not Action.NOTHING]
    if output in (OutputFormat.TABLE, OutputFormat.WIDE):
        for step in differing:
            _show_step(step)
        counts = Counter(step.action for step in steps)
        print(
            f"{counts[Action.CREATE]} to create, {counts[Action.CHANGE]} to change, {counts[Action.DELETE]} to delete, "
            f"{counts[Action.NOTHING]} as they shall be"
        )
    else:
        rows = ({"action": step.action.value, "resource": step.name, "changes": _entries(step)} for step in differing)
        show(rows, ("action", "resource"), output, name="resource")
    if exit_code and differing:
        raise typer.Exit(ExitCode.ERROR)


def _prune_labels(label: list[str] | None, *, prune: bool) -> dict[str, str]:
    labels = labels_of(label)
    if prune and not labels:
        raise CommandError("--prune needs a --label: only what has it is looked at", ExitCode.USAGE)
    if labels and not prune:
        raise CommandError("--label goes with --prune", ExitCode.USAGE, "a label of a device is in its document")
    return labels


def _kept(tokens: IO[str] | None, step: Step, token: str) -> bool:
    if tokens is None:
        return False
    # What it says it is when it connects.
    user = step.name.rpartition("/")[2] if step.kind is not OPERATOR else f"operator:{step.name.rpartition('/')[2]}"
    csv.writer(tokens, lineterminator="\n").writerow((user, token))
    tokens.flush()
    return True


def _show_outcomes(steps: Sequence[Step], failures: dict[str, str], output: OutputFormat, *, dry_run: bool) -> None:
    rows = (
        {
            "outcome": "failed" if step.name in failures else _OUTCOMES[step.action],
            "resource": step.name,
            "changed": [path for path, _, _ in step.changes] if step.action is Action.CHANGE else [],
            "error": failures.get(step.name, ""),
            "file": step.where,
        }
        for step in steps
    )
    sys.stderr.flush()
    title = "Dry run: nothing was changed." if dry_run else ""
    show(rows, COLUMNS, output, name="resource", title=title, wide=("file", "error"))


def _show_step(step: Step) -> None:
    print(f"{_SIGNS[step.action]} {step.name}{f': {step.problem}' if step.problem else ''}")
    for path, before, after in step.changes:
        if step.action is Action.CREATE:
            print(f"    {path}: {_written(after)}")
        else:
            print(f"    {path}: {_written(before)} -> {_written(after)}")


def _entries(step: Step) -> list[dict[str, Any]]:
    return [{"field": path, "before": before, "after": after} for path, before, after in step.changes]


def _written(value: Any) -> str:
    return "nothing" if value is None else msgspec.json.encode(value).decode()
