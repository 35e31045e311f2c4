"""`cityfleet quarantine`: payloads that could not be stored: see them, take them in after all, throw them away."""

import asyncio
import csv
import re
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show, show_document
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
COLUMNS = ("id", "received_at", "device_id", "reason", "detail", "readings", "size_bytes")
CSV_COLUMNS = (
    "id",
    "received_at",
    "device_id",
    "topic",
    "transport",
    "encoding",
    "reason",
    "detail",
    "readings",
    "size_bytes",
)
REASON_COLUMNS = ("reason", "payloads", "readings", "size_bytes", "devices", "first", "last")
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

DeviceOption = Annotated[list[str] | None, typer.Option("--device", "-d", help="Who sent it. May be repeated.")]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", "-r", help="Why. May be repeated.")]
TransportOption = Annotated[
    list[str] | None, typer.Option("--transport", help="mqtt, grpc, broker or replay. May be repeated.")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Came in then or later: 2026-01-31T10:00Z, or 2h for ago.")
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Came in before.")]
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
            await _write(pages, output)
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


async def _write(pages: AsyncIterator[list[Row]], output: OutputFormat) -> None:
    """Rows as they come: there may be millions."""
    if output is OutputFormat.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
    before = "[\n  "
    async for page in pages:
        for row in page:
            if output is OutputFormat.NAME:
                print(row.id)
            elif output is OutputFormat.CSV:
                found = payload_row(row)
                writer.writerow([found[column] for column in CSV_COLUMNS])
            elif output is OutputFormat.YAML:
                show_document([payload_row(row)], output)
            else:
                sys.stdout.write(before + msgspec.json.encode(payload_row(row)).decode())
                before = ",\n  "
    if output is OutputFormat.JSON:
        print("[]" if before == "[\n  " else "\n]")


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
        _moment_ms(since, "--since"),
        _moment_ms(until, "--until"),
    )


def _moment_ms(text: str | None, option: str) -> int | None:
    """A moment, or how long ago one was."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return round((time.time() - float(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    except (ValueError, OverflowError) as exc:
        remedy = "a date and time in UTC, 2026-01-31T10:00, or 90s, 15m, 2h, 7d, 4w ago"
        raise CommandError(f"{option}: {text!r} is no time", ExitCode.USAGE, remedy) from exc


async def one_of(quarantine: Quarantine, payload_id: str) -> Row:
    """The row of an id or its beginning. Raises CommandError if there is none, or more than one."""
    found = await quarantine.find(payload_id)
    if not found:
        raise CommandError(f"no payload {payload_id!r} in quarantine", ExitCode.NOT_FOUND, "cityfleet quarantine list")
    if len(found) > 1:
        raise CommandError(f"several ids begin with {payload_id!r}", ExitCode.USAGE, "give more of it")
    return found[0]


def payload_row(row: Row, *, plain: bool = False) -> dict[str, Any]:
    """As it is printed; `plain`: for a terminal, without characters that it would obey."""
    texts = {
        "device_id": row.device_id,
        "topic": row.topic.decode(errors="replace"),
        "transport": row.transport,
        "encoding": row.encoding,
        "reason": row.reason,
        "detail": row.detail,
    }
    if plain:
        texts = {name: printable(text) for name, text in texts.items()}
    return {
        "id": str(row.id),
        "received_at": moment(row.received_ms),
        **texts,
        "readings": row.readings,
        "size_bytes": row.size_bytes,
    }


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


def moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}Z"


def said(totals: Totals) -> str:
    return f"{counted(totals.payloads, 'payload')} ({counted(totals.readings, 'reading')})"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def confirm(question: str) -> None:
    """Ask on standard error, so that what is printed stays an answer. Raises typer.Abort."""
    if not sys.stdin.isatty():
        raise CommandError("nobody to ask here", ExitCode.USAGE, "--yes, if you mean it")
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
