"""`cityfleet demo`: the platform with a simulated city of about 1,000 devices, and the answers it gives."""

import asyncio
import contextlib
import resource
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.demo_balance import balance
from cli.demo_questions import NAMED, QUESTIONS, Question, complete
from cli.errors import CommandError, ExitCode
from cli.provisioning import Registration, register, write_tokens
from cli.registry_client import connect
from loadtest.answers import StoreError, StoreReader, wait_until_stored
from loadtest.fleet.behaviour import City
from loadtest.fleet.devices import CityDevice, fleet
from loadtest.fleet.faults import Faults
from loadtest.fleet.runner import FleetRunner
from loadtest.ledger import SentLedger
from loadtest.link import Receiver
from loadtest.platform import ROOT, Platform, running_platform
from runtime import runfile
from runtime.secrets import secret
from runtime.shutdown import stop_on_signals

HISTORY_HOURS = 24.0
HISTORY_STEP_S = 600
LIVE_PERIOD_S = 10.0
VISIBLE_WITHIN_S = 60.0
# The steps have computed what came in before the answers, and the views that are made each minute are.
COMPUTED_AFTER_S = 100.0

console = Console(stderr=False)


def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="End by itself; status 0 only if the ledger balances.")] = False,
    devices: Annotated[int, typer.Option(help="Devices in the city.", min=20, max=20_000)] = 1000,
    seconds: Annotated[float, typer.Option(help="Live seconds before the answers.", min=1)] = 20.0,
    seed: Annotated[int, typer.Option(help="The same seed is the same city.")] = 7,
    folder: Annotated[Path, typer.Option(help="Emptied first.", file_okay=False)] = Path("build/demo"),
) -> None:
    """Start the platform in a fresh folder with a simulated city, and show the answers that it gives.

    Runs until Ctrl-C; with --exit it ends by itself.
    """
    began = time.monotonic()
    _empty(folder)
    _allow_connections(devices)
    try:
        with contextlib.ExitStack() as stack:
            with console.status("Starting store, registry and ingest ..."):
                platform = stack.enter_context(running_platform(folder.resolve()))
            _done(f"The platform runs: MQTT on port {platform.mqtt_port}, SQL on {platform.store_url}", began)
            anchor_ms = time.time_ns() // 1_000_000
            city = City(seed, anchor_ms)
            members = fleet(seed, devices)
            tokens = _provision(platform, members, folder)
            _done(f"{devices} devices are registered, in {len({one.spot.ward_code for one in members})} wards", began)
            balanced = uvloop.run(_Demo(platform, city, members, tokens, seconds, exit_, began).run())
    except AssertionError as exc:  # what running_platform says when the platform does not start
        raise CommandError(str(exc), remedy=f"the log is {folder}/up.log") from exc
    except StoreError as exc:
        raise CommandError(str(exc), remedy=f"the log is {folder}/up.log") from exc
    except KeyboardInterrupt:
        console.print("Stopped.")
        return
    if not balanced:
        raise typer.Exit(ExitCode.ERROR)


class _Demo:
    def __init__(
        self,
        platform: Platform,
        city: City,
        members: list[CityDevice],
        tokens: dict[str, str],
        seconds: float,
        ends: bool,
        began: float,
    ) -> None:
        self._platform = platform
        self._members = members
        self._by_id = {device.device_id: device for device in members}
        self._tokens = tokens
        self._seconds = seconds
        self._ends = ends
        self._began = began
        self._ledger = SentLedger()
        self._reader = StoreReader(platform.store_url, "reader", secret(platform.data_dir, "store-reader"))
        # A device may connect before ingest has heard of it from the registry.
        receiver = Receiver("127.0.0.1", platform.mqtt_port, refusal_grace_s=15.0)
        faults = Faults.of(city.seed, members, city.anchor_ms)
        self._runner = FleetRunner(receiver, members, tokens, city, faults, self._ledger)

    async def run(self) -> bool:
        """True if every acknowledged reading is stored or in quarantine."""
        interrupted = stop_on_signals()
        async with self._runner as runner:
            await self._connect()
            await self._backfill()
            with console.status(f"The city reports, {self._seconds:g} seconds ..."):
                await self._live(interrupted, self._seconds)
                await runner.drain(30.0)
            if interrupted.is_set():
                return True
            _done(
                f"{runner.tally.acked:,} readings in {runner.tally.messages:,} messages are acknowledged", self._began
            )
            with console.status("Asking the store ..."):
                stored, differences = await asyncio.to_thread(
                    wait_until_stored, self._reader, self._ledger, runner.tally.bad_acked, 0, VISIBLE_WITHIN_S
                )
            ledger = balance(self._members, self._ledger, runner.tally, stored, differences)
            _heading("What arrived (readings, by identity: device, metric, time)")
            console.print(ledger.table())
            ledger.say(console)
            await asyncio.to_thread(self._answers, QUESTIONS)
            self._next_steps()
            if self._ends or not ledger.is_even:
                # What is computed by now; without --exit there is time to wait for it.
                await asyncio.to_thread(self._answers, NAMED)
                return ledger.is_even
            await self._until_interrupted(interrupted)
        return True

    async def _connect(self) -> None:
        with _progress() as progress:
            task = progress.add_task("Connecting")
            try:
                await self._runner.connect(60.0, lambda done, total: progress.update(task, completed=done, total=total))
            except TimeoutError as exc:
                text = f"only {self._runner.connections} of {len(self._runner.senders)} devices could connect in 60 s"
                raise CommandError(text) from exc
        refused = self._runner.tally.shut_out
        if refused:
            device_id, reason = next(iter(refused.items()))
            raise CommandError(f"{len(refused)} devices were refused, as {device_id}: {reason}")
        behind = len(self._members) - self._runner.connections
        text = f"{self._runner.connections} devices are connected by MQTT 5, {behind} speak through their gateways"
        _done(text, self._began)

    async def _backfill(self) -> None:
        with _progress() as progress:
            task = progress.add_task(f"Last {HISTORY_HOURS:g} hours")
            await self._runner.backfill(
                HISTORY_HOURS,
                HISTORY_STEP_S,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
            await self._runner.drain(60.0)
        _done(
            f"{self._runner.tally.acked:,} readings of the last {HISTORY_HOURS:g} hours are acknowledged", self._began
        )

    async def _live(self, interrupted: asyncio.Event, seconds: float | None) -> None:
        stop = asyncio.Event()
        watch = asyncio.create_task(_either(interrupted, seconds, stop))
        try:
            await self._runner.live(stop, LIVE_PERIOD_S)
        finally:
            watch.cancel()

    def _answers(self, questions: Sequence[Question]) -> None:
        for question in questions:
            try:
                found = self._reader.rows(question.sql)
            except StoreError as exc:
                if question in QUESTIONS:
                    raise
                _heading(question.title)
                console.print(f"  no answer: {exc}", markup=False)
                continue
            rows = complete(question, found, self._by_id)
            table = Table(*question.columns, box=None, pad_edge=False, header_style="bold")
            for row in rows[:10]:
                table.add_row(*(_cell(row[name]) for name in question.columns))
            if len(rows) > 10:
                table.add_row(f"... and {len(rows) - 10} more")
            _heading(question.title)
            console.print(table if rows else "  none" if question in QUESTIONS else "  none, or not computed yet")

    def _next_steps(self) -> None:
        platform = self._platform
        device = next(one for one in self._members if one.device_type == "gauge-street" and not one.gateway)
        topic = f"cf/v1/d/{device.device_id}/telemetry"
        account = f"{platform.store_url}/?user=reader&password={secret(platform.data_dir, 'store-reader')}"
        asked = "SELECT * FROM ioc.latest WHERE metric = 'water_level_m' FORMAT PrettyCompact"
        _heading("What to try next" + (" (after starting it without --exit)" if self._ends else ""))
        for line in (
            f"export CITYFLEET_CONFIG={platform.config}",
            'cityfleet query "SELECT ward_name, max(value) AS mm FROM ioc.latest '
            "WHERE metric = 'street_flood_depth_mm' GROUP BY ward_name ORDER BY mm DESC LIMIT 5\"",
            "cityfleet query ward_briefing --ward 00070",
            "cityfleet query --list",
            "cityfleet device list --filter 'ward_code = \"00070\"'",
            f"cityfleet device get {device.device_id}",
            f"mosquitto_pub -p {platform.mqtt_port} -u {device.device_id} -P {self._tokens[device.device_id]} "
            f'-t {topic} -q 1 -m \'[{{"n":"street_flood_depth_mm","v":420}}]\'',
            f"curl -s '{account}' -d \"{asked}\"",
        ):
            console.print(f"  {line}", style="cyan", soft_wrap=True, highlight=False, markup=False)

    async def _until_interrupted(self, interrupted: asyncio.Event) -> None:
        console.print()
        with console.status("The city goes on reporting. Ctrl-C stops all.") as status:
            live = asyncio.create_task(self._live(interrupted, None))
            last_acked, last_at = self._runner.tally.acked, time.monotonic()
            named_at = last_at + COMPUTED_AFTER_S
            while not interrupted.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(interrupted.wait(), 2.0)
                    break
                acked, now = self._runner.tally.acked, time.monotonic()
                rate = (acked - last_acked) / (now - last_at)
                last_acked, last_at = acked, now
                if now >= named_at:
                    named_at = float("inf")
                    await asyncio.to_thread(self._answers, NAMED)
                status.update(await asyncio.to_thread(self._status, rate))
            await live
        console.print("Stopping ...")

    def _status(self, rate: float) -> str:
        text = (
            f"{self._runner.connections} connections, {self._runner.tally.acked:,} readings acknowledged "
            f"({rate:,.0f}/s)"
        )
        with contextlib.suppress(StoreError):
            (row,) = self._reader.rows(
                "SELECT count() AS stored, dateDiff('millisecond', max(ts), now64(3)) AS age_ms FROM ioc.readings "
                "WHERE ts > now() - INTERVAL 10 MINUTE"
            )
            text += (
                f", {int(row['stored']):,} stored of the last 10 minutes, newest {int(row['age_ms']) / 1000:.1f} s old"
            )
        return f"{text}. Ctrl-C stops all."


async def _either(interrupted: asyncio.Event, seconds: float | None, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(interrupted.wait(), seconds)
    stop.set()


def _provision(platform: Platform, members: list[CityDevice], folder: Path) -> dict[str, str]:
    with _progress() as progress, connect(platform.registry, None, platform.data_dir) as client:
        task = progress.add_task("Registering", total=len(members))
        platform.cli("type", "apply", "-f", str(ROOT / "ops" / "types"))
        registrations = [
            Registration(
                device.device_id,
                device.device_type,
                display_name=device.display_name,
                ward_code=device.spot.ward_code,
                gateway=device.gateway,
                latitude=device.lat,
                longitude=device.lon,
                station=device.gauge.slug if device.gauge else "",
            )
            for device in members
        ]
        tokens = register(client, registrations, {}, lambda done: progress.update(task, completed=done))
    write_tokens(folder / "tokens.csv", tokens)
    return tokens


def _empty(folder: Path) -> None:
    """Make the folder fresh, if it is one of ours and nobody uses it."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "cityfleet.toml").exists():
        raise CommandError(f"{folder} is not empty and not from a demo", ExitCode.USAGE, "name another with --folder")
    try:
        with runfile.Lock(folder / "data", "up"):
            pass
    except runfile.AlreadyRunningError as exc:
        raise CommandError(str(exc), remedy="stop that demo, or name another folder with --folder") from exc
    shutil.rmtree(folder)


def _allow_connections(devices: int) -> None:
    """Every connection of this process takes three file descriptors (its socket and the client's wake-up pair)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * devices + 256
    if soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted, hard)
        )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _done(text: str, began: float) -> None:
    console.print(
        f"[green]✓[/green] {text} [dim]({time.monotonic() - began:.0f} s)[/dim]", highlight=False, soft_wrap=True
    )


def _heading(text: str) -> None:
    console.print()
    console.print(text, style="bold underline", soft_wrap=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
