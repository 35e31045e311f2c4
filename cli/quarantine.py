"""`cityfleet quarantine`: payloads that could not be stored: see them, take them in after all, throw them away."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.errors import CommandError, ExitCode
from cli.moment import moment_ms
from cli.output import OutputFormat, OutputOption, show, show_document
from cli.quarantine_replay import Outcome, Replay
from cli.quarantine_rows import COLUMNS, CSV_COLUMNS, Stream, moment, payload_row
from cli.quarantine_show import document, printable, write_document
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from store.accounts import AccountName
from store.client import open_client, store_url
from store.quarantine import Filter, Quarantine, ReasonTotals, Row, Totals

app = typer.Typer(
    help="Payloads that could not be stored, with their bytes and the reason.",
    no_args_is_help=True,
)
T = TypeVar("T")
OUTCOME_COLUMNS = ("id", "device_id", "was", "becomes", "readings", "detail")
REASON_COLUMNS = ("reason", "payloads", "readings", "size_bytes", "devices", "first", "last")
_OUTCOMES_SHOWN = 1_000

DeviceOption = Annotated[list[str] | None, typer.Option("--device", "-d", help="Who sent it. May be repeated.")]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", "-r", help="Why. May be repeated.")]
TransportOption = Annotated[
    list[str] | None, typer.Option("--transport", help="mqtt, grpc, broker or replay. May be repeated.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Came in then or later: 2026-01-31T10:00Z, or 2h for ago.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Came in before.")]
IngestOption = Annotated[
    str,
    typer.Option(
        "--ingest",
        metavar="HOST:PORT",
        help="Ingest to talk to (gRPC). Default: the one on the data folder, else `ingest.grpc` of the settings.",
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_payloads(
    device: DeviceOption = None,
    reason: ReasonOption = None,
    transport: TransportOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    summary: Annotated[bool, typer.Option("--summary", "-s", help="Only how many there are for each reason.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most this many, the newest; 0: all.")] = 50,
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show payloads in quarantine, the newest first, and how many there are for each reason.

    Examples:
        cityfleet quarantine list --since 2h
        cityfleet quarantine list --device wl-long-bien-01 --reason unknown_metric
        cityfleet quarantine list --summary -o json
        cityfleet quarantine list --reason malformed_payload --limit 0 -o name
    """
    wanted = filter_of(device, reason, transport, since, until)
    settings = load_settings(config, data)
    run(settings, _list(settings, wanted, summary, limit, output))


@app.command("show")
def show_payload(
    payload_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it, or its beginning.")],
    raw: Annotated[bool, typer.Option("--raw", help="Only the payload's bytes, as they came.")] = False,
    whole: Annotated[bool, typer.Option("--all", help="All bytes of a large payload.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show one payload: its bytes, what was found wrong at which byte, and what to do about it.

    Examples:
        cityfleet quarantine show 019e43b2-8e07-7c55-a3d2-1f0000000004
        cityfleet quarantine show 019e43b28e --raw > payload.bin
    """
    settings = load_settings(config, data)
    run(settings, _show(settings, payload_id, raw, whole, output))


@app.command()
def replay(
    payload_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Single payloads.")] = None,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    transport: TransportOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything there is.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what each would become, and take none.")] = False,
    yes: YesOption = False,
    output: OutputOption = OutputFormat.TABLE,
    ingest: IngestOption = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Send payloads through ingest again, as if they came now, at the time they came: after a type was corrected.

    Those of which every reading is good now are stored, and taken out of quarantine once they are durable; the others
    stay. Exit code 5 if some stay.

    Examples:
        cityfleet quarantine replay --reason unknown_metric --dry-run
        cityfleet quarantine replay --device wl-long-bien-01 --since 7d
        cityfleet quarantine replay 019e43b2-8e07-7c55-a3d2-1f0000000004 --yes
    """
    wanted = filter_of(device, reason, transport, since, until)
    if wanted.is_all and not everything and not payload_ids:
        raise CommandError("name what to send", ExitCode.USAGE, "an ID or a filter, or --all for everything")
    if not yes and not dry_run:
        expect_somebody()
    settings = load_settings(config, data)
    run(settings, _replay(settings, wanted, payload_ids or [], ingest, output, dry_run=dry_run, yes=yes))


@app.command()
def purge(
    payload_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Single payloads.")] = None,
    device: DeviceOption = None,
    reason: ReasonOption = None,
    transport: TransportOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything there is.")] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Delete payloads from quarantine for good.

    Examples:
        cityfleet quarantine purge --device wl-test-01
        cityfleet quarantine purge --until 7d --yes
    """
    wanted = filter_of(device, reason, transport, since, until)
    if wanted.is_all and not everything and not payload_ids:
        raise CommandError("name what to delete", ExitCode.USAGE, "an ID or a filter, or --all for everything")
    if not yes:
        expect_somebody()
    settings = load_settings(config, data)
    run(settings, _purge(settings, wanted, payload_ids or [], yes))


async def _list(settings: Settings, wanted: Filter, summary: bool, limit: int, output: OutputFormat) -> None:
    async with opened(settings, "reader") as quarantine:
        if summary:
            rows = [reason_row(one) for one in await quarantine.by_reason(wanted)]
            if output is OutputFormat.TABLE and not rows:
                print("Nothing in quarantine matches.")
            else:
                show(rows, REASON_COLUMNS, output, name="reason")
            return
        pages = quarantine.pages(wanted, newest_first=True, limit=limit)
        if output is not OutputFormat.TABLE:
            with Stream(CSV_COLUMNS, output, name="id") as stream:
                async for page in pages:
                    for row in page:
                        stream.write(payload_row(row))
            return
        found = [payload_row(row, plain=True) async for page in pages for row in page]
        if not found:
            print("Nothing in quarantine matches.")
            return
        show(found, COLUMNS, output, name="id")
        print()
        reasons = await quarantine.by_reason(wanted)
        total = sum(one.payloads for one in reasons)
        if total > len(found):
            print(f"The newest {len(found)} of {total:,} payloads; --limit 0 shows all.")
        for one in reasons:
            stands_for = f"{counted(one.readings, 'reading')}, {counted(one.devices, 'device')}"
            print(f"{one.payloads:>10,} {printable(one.reason)} ({stands_for})")


async def _show(settings: Settings, payload_id: str, raw: bool, whole: bool, output: OutputFormat) -> None:
    async with opened(settings, "reader") as quarantine:
        row = await one_of(quarantine, payload_id)
        payload = (await quarantine.payloads([row])).get(row.id)
    if payload is None:
        raise CommandError(f"{row.id} was taken out meanwhile", ExitCode.NOT_FOUND)
    if raw:
        if sys.stdout.isatty() and not printable(payload.decode(errors="replace")).isprintable():
            raise CommandError("a terminal cannot show these bytes", ExitCode.USAGE, "--raw > FILE")
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.flush()
    elif output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document(document(payload_row(row), payload), output)
    elif output is OutputFormat.TABLE:
        write_document(payload_row(row, plain=True), payload, whole=whole)
    else:
        show([payload_row(row)], CSV_COLUMNS, output, name="id")


async def _purge(settings: Settings, wanted: Filter, payload_ids: list[str], yes: bool) -> None:
    async with opened(settings, "admin") as quarantine:
        # What comes in while the question stands is not part of the answer.
        wanted = await narrowed(quarantine, wanted, payload_ids)
        totals = await quarantine.totals(wanted)
        if not totals.payloads:
            print("Nothing in quarantine matches.")
            return
        if not yes:
            confirm(f"Delete {said(totals)} for good?")
        await quarantine.purge(wanted)
    print(f"Deleted {said(totals)}.")


async def _replay(
    settings: Settings,
    wanted: Filter,
    payload_ids: list[str],
    address: str,
    output: OutputFormat,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    async with opened(settings, "admin") as quarantine:
        wanted = await narrowed(quarantine, wanted, payload_ids)
        totals = await quarantine.totals(wanted)
        if not totals.payloads:
            print("Nothing in quarantine matches.")
            return
        with closing(Replay(quarantine, settings, address)) as sending:
            if dry_run:
                looking = sending.run(wanted, totals.payloads, validate_only=True)
                await _show_outcomes(looking, output)
                return
            if not yes:
                looked = Became()
                async for outcome in sending.run(wanted, totals.payloads, validate_only=True):
                    looked.add(outcome)
                if not looked.taken:
                    looked.show(output, is_done=False)
                    raise CommandError("none of them is good now", ExitCode.PARTIAL, "see `cityfleet quarantine show`")
                stay = f"; {counted(looked.stay, 'payload')} would stay" if looked.stay else ""
                confirm(f"Store {looked.said()}, and take them out of quarantine{stay}?")
            became = Became()
            try:
                async for outcome in sending.run(wanted, totals.payloads, validate_only=False):
                    became.add(outcome)
            finally:
                became.show(output, is_done=True)
    if became.stay:
        remedy = "`cityfleet quarantine show ID` says what to do"
        raise CommandError(f"{counted(became.stay, 'payload')} of {became.total:,} stay", ExitCode.PARTIAL, remedy)


async def _show_outcomes(outcomes: AsyncIterator[Outcome], output: OutputFormat) -> None:
    """Each payload and what it would become; a table has the first ones, and what all come to."""
    if output is not OutputFormat.TABLE:
        with Stream(OUTCOME_COLUMNS, output, name="id") as stream:
            async for outcome in outcomes:
                stream.write(outcome_row(outcome))
        return
    became, shown = Became(), list[dict[str, Any]]()
    async for outcome in outcomes:
        became.add(outcome)
        if len(shown) < _OUTCOMES_SHOWN:
            shown.append({key: printable(str(value)) for key, value in outcome_row(outcome).items()})
    show(shown, OUTCOME_COLUMNS, output, name="id")
    if became.total > len(shown):
        print(f"The first {len(shown)} of {became.total:,}; -o csv shows all.")
    print()
    became.show(output, is_done=False)


class Became:
    """What payloads became, by what there is to say about it."""

    def __init__(self) -> None:
        self.readings = 0
        self._payloads: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.readings += outcome.readings
        self._payloads[outcome.reason] += 1

    @property
    def taken(self) -> int:
        return self._payloads[""]

    @property
    def total(self) -> int:
        return self._payloads.total()

    @property
    def stay(self) -> int:
        return self.total - self.taken

    def said(self) -> str:
        return f"{counted(self.taken, 'payload')} ({counted(self.readings, 'reading')})"

    def show(self, output: OutputFormat, *, is_done: bool) -> None:
        if output in (OutputFormat.JSON, OutputFormat.YAML):
            stay = {reason: count for reason, count in self._payloads.most_common() if reason}
            show_document({"stored": self.taken, "readings": self.readings, "stay": stay}, output)
            return
        if output is OutputFormat.NAME:
            print(self.taken)
            return
        rows = [{"became": "stored", "payloads": self.taken, "readings": self.readings}]
        rows += [
            {"became": f"stays: {reason}", "payloads": count, "readings": 0}
            for reason, count in self._payloads.most_common()
            if reason
        ]
        title = "" if is_done else "What they would become; nothing was changed."
        show(rows, ("became", "payloads", "readings"), output, name="became", title=title)


def outcome_row(outcome: Outcome) -> dict[str, Any]:
    row = outcome.row
    return {
        "id": str(row.id),
        "device_id": row.device_id,
        "was": row.reason,
        "becomes": f"stays: {outcome.reason}" if outcome.reason else "stored",
        "readings": outcome.readings,
        "detail": outcome.detail,
    }


async def narrowed(quarantine: Quarantine, wanted: Filter, payload_ids: list[str]) -> Filter:
    """The filter without what comes in from now on, and with the ids that the beginnings stand for."""
    now_ms = time.time_ns() // 1_000_000 + 1
    ids = [(await one_of(quarantine, one)).id for one in payload_ids]
    until_ms = min(now_ms, wanted.until_ms) if wanted.until_ms is not None else now_ms
    return msgspec.structs.replace(wanted, until_ms=None if ids else until_ms, ids=tuple(ids))


def filter_of(
    device: list[str] | None,
    reason: list[str] | None,
    transport: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filter:
    return Filter(
        tuple(device or ()),
        tuple(reason or ()),
        tuple(transport or ()),
        None if since is None else moment_ms(since, "--since"),
        None if until is None else moment_ms(until, "--until"),
    )


async def one_of(quarantine: Quarantine, payload_id: str) -> Row:
    """The row of an id or its beginning. Raises CommandError if there is none, or more than one."""
    found = await quarantine.find(payload_id)
    if not found:
        raise CommandError(f"no payload {payload_id!r} in quarantine", ExitCode.NOT_FOUND, "cityfleet quarantine list")
    if len(found) > 1:
        raise CommandError(f"several ids begin with {payload_id!r}", ExitCode.USAGE, "give more of it")
    return found[0]


def reason_row(totals: ReasonTotals) -> dict[str, Any]:
    return {
        "reason": totals.reason,
        "payloads": totals.payloads,
        "readings": totals.readings,
        "size_bytes": totals.size_bytes,
        "devices": totals.devices,
        "first": moment(totals.first_ms),
        "last": moment(totals.last_ms),
    }


def said(totals: Totals) -> str:
    return f"{counted(totals.payloads, 'payload')} ({counted(totals.readings, 'reading')})"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def expect_somebody() -> None:
    """Raises CommandError if there is nobody who could be asked."""
    if not sys.stdin.isatty():
        raise CommandError("nobody to ask here", ExitCode.USAGE, "--yes, if you mean it")


def confirm(question: str) -> None:
    """Ask on standard error, so that what is printed stays an answer. Raises typer.Abort."""
    typer.confirm(question, abort=True, err=True)


@asynccontextmanager
async def opened(settings: Settings, account: AccountName) -> AsyncIterator[Quarantine]:
    client = await open_client(settings.store, settings.data_path, account)
    try:
        yield Quarantine(client)
    finally:
        await client.close()


def run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    """Run it; errors of the store become CommandErrors."""
    try:
        return asyncio.run(work)
    except (ClickHouseError, OSError) as exc:
        if isinstance(exc, BrokenPipeError):
            sys.stderr.close()  # `| head` has seen enough
            raise SystemExit(0) from None
        reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        if getattr(exc, "code", None) is not None:
            raise CommandError(f"the store refused: {reason}") from exc
        raise CommandError(
            f"the store at {store_url(settings.store, settings.data_path)} does not answer: {reason}",
            remedy="start it with `cityfleet store` or `cityfleet up`",
        ) from exc
