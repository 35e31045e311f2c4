"""`cityfleet doctor`: checks a deployment and says what to mend."""

import sys
from collections.abc import Iterator

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.doctor_checks import host, ingest, ledger, roles, spool, store
from cli.doctor_checks.check import Check, Finding, Status, fail, skip
from cli.doctor_checks.deployment import Deployment, StoreAwayError
from cli.errors import ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption, load_settings

# In the order in which a person reads them.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("role", roles.roles),
    ("ledger", ledger.ledgers),
    ("spool.backlog", spool.backlog),
    ("spool.disk", spool.room),
    ("spool.fsync", spool.fsync),
    ("spool.set_aside", spool.set_aside),
    ("spool.losses", spool.losses),
    ("ingest.durability", ingest.durability),
    ("ingest.memory", ingest.memory),
    ("ingest.rejected", ingest.rejected),
    ("ingest.index", ingest.index),
    ("ingest.broker", ingest.broker),
    ("store.answers", store.reachable),
    ("store.schema", store.schema),
    ("store.deduplication", store.windows),
    ("store.parts", store.parts),
    ("store.rollups", store.rollups),
    ("store.quarantine", store.quarantine),
    ("store.clock", store.clock),
    ("host.open_files", host.open_files),
    ("host.secrets", host.secrets),
    ("host.certificates", host.certificates),
)
_STYLES = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "bold red", Status.SKIP: "dim"}


def doctor(config: ConfigOption = None, data: DataOption = None, output: OutputOption = OutputFormat.TABLE) -> None:
    """Check a deployment and say what to mend.

    Looks at the roles, the ledger stage by stage, the spool and its disk, the store, clocks, certificates and settings.
    Works while roles are stopped: then it says what their files tell. Changes nothing.
    Exit status 1 if a check fails; what is only to be known (warn) does not.

    Examples:
        cityfleet doctor
        cityfleet doctor --config /etc/cityfleet.toml -o json
    """
    findings = list(examine(Deployment(load_settings(config, data))))
    if output is OutputFormat.TABLE:
        _print(findings)
    else:
        rows = [msgspec.structs.asdict(one) for one in findings]
        show(rows, ["name", "status", "what", "remedy"], output, name="name")
    if any(one.status is Status.FAIL for one in findings):
        raise typer.Exit(ExitCode.ERROR)


def examine(deployment: Deployment) -> Iterator[Finding]:
    """Every check's findings. One that cannot be made says so and leaves the others alone."""
    for name, check in CHECKS:
        try:
            yield from check(deployment)
        except StoreAwayError:
            yield skip(name, "the store does not answer")
        except (OSError, ValueError) as exc:
            yield fail(name, f"could not be checked: {exc}", "see whether this account may read the data folder")


def _print(findings: list[Finding]) -> None:
    table = Table("", "check", "what", box=None, pad_edge=False, header_style="bold")
    for one in findings:
        what = Text(one.what)
        if one.remedy:
            what.append(f"\n  → {one.remedy}", style="cyan")
        table.add_row(Text(one.status.value, style=_STYLES[one.status]), Text(one.name), what)
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    console.print(table)
    count = {status: sum(one.status is status for one in findings) for status in Status}
    console.print(
        f"\n{count[Status.OK]} checks are well, {count[Status.WARN]} to know about, {count[Status.FAIL]} to mend, "
        f"{count[Status.SKIP]} not made.",
        highlight=False,
    )
