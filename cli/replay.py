"""`cityfleet replay`: recorded CSV through MQTT as the devices that measured it."""

import dataclasses
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show_document
from cli.provisioning import Registration, ensure_types, read_tokens, register, write_tokens
from cli.registry_client import RegistryClient, RegistryOption, connect
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from loadtest.answers import StoreError, StoreReader, wait_until_present
from loadtest.ledger import SentLedger
from loadtest.link import Receiver
from loadtest.payload import Encoding, Reading
from loadtest.replay.clock import to_ms
from loadtest.replay.mapping import MapError, ReplayMap, load_map
from loadtest.replay.rows import RowTally, places, read_rows
from loadtest.replay.sender import NobodyListensError, NoTokenError, ReplaySender, SendOptions, SendTally
from runtime import runfile
from runtime.secrets import secret

# A paced replay has to put the rows into the order of time first, in memory.
MAX_PACED_READINGS = 5_000_000
_PACE = re.compile(r"(?:x(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)x)")


def replay(
    file: Annotated[Path, typer.Argument(help="Recorded CSV.", exists=True, dir_okay=False)],
    map_file: Annotated[Path, typer.Option("--map", help="What the columns mean (TOML); ops/replay has examples.")],
    host: Annotated[str, typer.Option(help="MQTT host. Default: the one of the settings.")] = "",
    port: Annotated[int, typer.Option(help="MQTT port. Default: the one of the settings.")] = 0,
    pace: Annotated[str, typer.Option(help="`max`, `recorded`, or a multiple of it as `60x`.")] = "max",
    start: Annotated[str, typer.Option(help="Shift all times: the earliest becomes `now` or this ISO 8601 time.")] = "",
    end: Annotated[str, typer.Option(help="Shift all times: the latest becomes `now` or this ISO 8601 time.")] = "",
    pack: Annotated[int, typer.Option(help="Readings per message. Default: 50 at `max`, else 1.", min=0)] = 0,
    encoding: Annotated[Encoding, typer.Option(help="Payload encoding.")] = Encoding.SENML_JSON,
    window: Annotated[int, typer.Option(help="Messages in flight per device.", min=1, max=65_535)] = 64,
    limit: Annotated[int | None, typer.Option(help="Only the first rows.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, but send nothing.")] = False,
    provision: Annotated[bool, typer.Option("--provision", help="Register the map's types and devices first.")] = False,
    registry: RegistryOption = "",
    tokens: Annotated[
        Path | None, typer.Option(help="CSV with device_id and token. Default: <data>/replay-tokens.csv.")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Ask the store whether every reading arrived.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the last acknowledgements.", min=0.1)] = 60.0,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Send a recorded CSV through MQTT at QoS 1, as the registered devices that measured it.

    Exits with 5 if a reading was not acknowledged (or, with --verify, is not stored).

    Examples:
        cityfleet replay Hanoi_PM2.5_2016_YTD.csv --map ops/replay/air-hanoi.toml --provision --verify
        cityfleet replay rows.csv --map map.toml --pace 60x --start now
        cityfleet replay rows.csv --map map.toml --dry-run -o json
    """
    settings = load_settings(config, data)
    speed = _speed(pace)
    try:
        replay_map = load_map(map_file)
        job = _Job(file, replay_map, limit, speed, _shift_ms(file, replay_map, limit, start, end))
        if dry_run:
            for _ in job.readings():
                pass
            _report(job, None, None, output)
            return
        token_file = tokens or settings.data_path / "replay-tokens.csv"
        held = read_tokens(token_file) if token_file.exists() or (tokens and not provision) else {}
        if provision:
            with connect(registry, config, data) as client:
                held = _provision(job, client, held)
            write_tokens(token_file, held)
        options = SendOptions(speed, pack or (50 if speed is None else 1), encoding, window, ack_timeout_s=timeout)
        receiver = Receiver(
            host or _mqtt(settings)[0],
            port or _mqtt(settings)[1],
            refusal_grace_s=5.0 if provision else 0.0,
        )
        ledger = SentLedger() if verify else None
        began_ms = time.time_ns() // 1_000_000
        tally = uvloop.run(_send(job, receiver, held, options, ledger))
    except MapError as exc:
        raise CommandError(str(exc), ExitCode.USAGE) from exc
    except NoTokenError as exc:
        remedy = "--provision registers the map's devices; --tokens FILE names their tokens"
        raise CommandError(str(exc), remedy=remedy) from exc
    except NobodyListensError as exc:
        raise CommandError(str(exc), remedy="is the platform running? `cityfleet up` starts it") from exc
    stored = _verify(settings, ledger, began_ms) if ledger else None
    _report(job, tally, stored, output)
    if tally.acked < tally.sent or (stored is not None and stored["missing"]):
        raise typer.Exit(ExitCode.PARTIAL)


@dataclasses.dataclass(slots=True)
class _Job:
    file: Path
    replay_map: ReplayMap
    limit: int | None
    speed: float | None
    shift_ms: int
    rows: RowTally = dataclasses.field(default_factory=RowTally)
    first_ms: int | None = None
    last_ms: int | None = None

    def readings(self) -> Iterator[Reading]:
        found: Iterable[Reading] = read_rows(self.file, self.replay_map, self.rows, self.limit)
        if self.speed is not None:
            found = sorted(_bounded(found, self.file), key=lambda reading: reading.ts_ms)
        for reading in found:
            ts_ms = reading.ts_ms + self.shift_ms
            self.first_ms = ts_ms if self.first_ms is None else min(self.first_ms, ts_ms)
            self.last_ms = ts_ms if self.last_ms is None else max(self.last_ms, ts_ms)
            yield reading._replace(ts_ms=ts_ms) if self.shift_ms else reading


def _bounded(readings: Iterable[Reading], file: Path) -> Iterator[Reading]:
    for number, reading in enumerate(readings):
        if number >= MAX_PACED_READINGS:
            text = f"{file} has more than {MAX_PACED_READINGS} readings; a paced replay must sort them in memory"
            raise CommandError(text, ExitCode.USAGE, "use --pace max, or --limit")
        yield reading


def _speed(pace: str) -> float | None:
    if pace == "max":
        return None
    if pace == "recorded":
        return 1.0
    found = _PACE.fullmatch(pace)
    speed = float(found[1] or found[2]) if found else 0.0
    if not speed:
        raise CommandError(f"--pace {pace!r}: use `max`, `recorded` or a multiple as `60x`", ExitCode.USAGE)
    return speed


def _shift_ms(file: Path, replay_map: ReplayMap, limit: int | None, start: str, end: str) -> int:
    if start and end:
        raise CommandError("give --start or --end, not both", ExitCode.USAGE)
    if not start and not end:
        return 0
    earliest, latest = None, None
    for reading in read_rows(file, replay_map, RowTally(), limit):
        earliest = reading.ts_ms if earliest is None else min(earliest, reading.ts_ms)
        latest = reading.ts_ms if latest is None else max(latest, reading.ts_ms)
    if earliest is None or latest is None:
        return 0
    return _moment_ms(start) - earliest if start else _moment_ms(end) - latest


def _moment_ms(text: str) -> int:
    if text == "now":
        return time.time_ns() // 1_000_000
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise CommandError(f"{text!r} is neither `now` nor an ISO 8601 time", ExitCode.USAGE) from exc
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _mqtt(settings: Settings) -> tuple[str, int]:
    """Where the endpoint of this data folder listens now, else where the settings say."""
    running = runfile.read(settings.data_path, "ingest")
    if running is not None and "mqtt" in running.addresses:
        host, _, port = running.addresses["mqtt"].removeprefix("mqtt://").rpartition(":")
        return _reachable(host), int(port)
    return _reachable(settings.ingest.mqtt.host), settings.ingest.mqtt.port


def _reachable(host: str) -> str:
    """Where a client finds a server that listens on `host`."""
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104


def _provision(job: _Job, client: RegistryClient, held: dict[str, str]) -> dict[str, str]:
    found = places(job.file, job.replay_map, job.limit)
    own = job.replay_map.device
    wanted: dict[str, set[str]] = {}
    for value in job.replay_map.values:
        kind = (value.device or own).type
        if not kind:
            raise CommandError("--provision needs `device.type` in the map", ExitCode.USAGE)
        wanted.setdefault(kind, set()).add(value.metric)
    ensure_types(client, wanted)
    devices = [
        Registration(
            place.device_id,
            place.rule.type,
            display_name=place.device_id,
            ward_code=place.rule.ward_code,
            latitude=place.lat,
            longitude=place.lon,
        )
        for place in found.values()
    ]
    return register(client, devices, held)


async def _send(
    job: _Job, receiver: Receiver, tokens: dict[str, str], options: SendOptions, ledger: SentLedger | None
) -> SendTally:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{job.file.name} -> {receiver.host}:{receiver.port}", total=None)

        def show(tally: SendTally) -> None:
            progress.update(task, completed=tally.acked, total=tally.sent)

        async with ReplaySender(receiver, tokens, options, ledger, show) as sender:
            await sender.send(job.readings())
            return sender.tally


def _verify(settings: Settings, ledger: SentLedger, began_ms: int) -> dict[str, int]:
    url = settings.store.url or f"http://{_reachable(settings.store.listen.host)}:{settings.store.listen.port}"
    password = settings.store.reader_password or secret(settings.data_path, "store-reader")
    reader = StoreReader(url, settings.store.reader_user, password)
    try:
        found, missing = wait_until_present(reader, ledger, began_ms - 60_000, timeout_s=30.0)
    except StoreError as exc:
        raise CommandError(f"sent and acknowledged, but not verified: {exc}") from exc
    return {"stored": found.readings, "quarantined": sum(found.quarantined.values()), "missing": missing}


def _report(job: _Job, tally: SendTally | None, stored: dict[str, int] | None, output: OutputFormat) -> None:
    rows = job.rows
    document: dict[str, Any] = {
        "rows": rows.rows,
        "values": rows.values,
        "readings": rows.readings,
        "first": _iso(job.first_ms),
        "last": _iso(job.last_ms),
        "skipped": dict(rows.skipped),
        "examples": rows.examples,
    }
    if tally is not None:
        document |= {
            "sent": tally.sent,
            "acked": tally.acked,
            "unacked": tally.unacked,
            "refused": dict(tally.refused),
            "messages": tally.messages,
            "resent_messages": tally.resent_messages,
            "reconnects": tally.reconnects,
            "devices": len(tally.by_device),
            "seconds": round(tally.seconds, 3),
        }
    document |= stored or {}
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        show_document(document, output)
        return
    table = Table("what", "", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = "right"
    for key, value in document.items():
        if key in ("examples", "seconds"):
            continue
        if isinstance(value, dict):
            for reason, count in sorted(value.items()):
                table.add_row(f"{key}: {reason}", str(count))
        else:
            table.add_row(key.replace("_", " "), "" if value is None else str(value))
    console = Console()
    console.print(table)
    if tally is not None and tally.seconds > 0:
        console.print(f"{tally.seconds:.1f} s, {tally.acked / tally.seconds:,.0f} readings/s acknowledged")
    for reason, example in rows.examples.items():
        console.print(f"first {reason!r}: {example}", style="yellow")


def _iso(ts_ms: int | None) -> str | None:
    return None if ts_ms is None else datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds")
