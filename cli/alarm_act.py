"""`cityfleet alarm list|ack|close|false`: what is open in the city's wards, and what people do about it."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.alarm_time import text_of, time_of
from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from store.accounts import AccountName
from store.alarm_actions import DOMAINS, Action, ActionName, AlarmActions, NoAlarmError, OpenAlarm, TooEarlyError
from store.client import open_client, store_url

T = TypeVar("T")
OPEN_COLUMNS = (
    "ward_code", "domain", "severity", "object_id", "title", "value", "threshold", "since_ts", "status", "owner",
    "acknowledged_at", "note",
)  # fmt: skip
ACTION_COLUMNS = ("ward_code", "domain", "object_id", "since_ts", "action", "acted_at", "who", "owner")

DomainArgument = Annotated[str, typer.Argument(metavar="DOMAIN", help=f"{', '.join(DOMAINS)}.")]
ObjectArgument = Annotated[str, typer.Argument(metavar="OBJECT", help="object_id, as `cityfleet alarm list` shows it.")]
WardsOption = Annotated[
    list[str] | None, typer.Option("--ward", metavar="CODE", help="Only for this ward. May be repeated.")
]
AtOption = Annotated[str, typer.Option("--at", metavar="TIME", help="When it was done. Default: now.")]
ByOption = Annotated[str, typer.Option("--by", metavar="NAME", help="Who did it. Default: the user of this computer.")]
OwnerOption = Annotated[str, typer.Option("--owner", metavar="NAME", help="Who takes care of it from now on.")]
NoteOption = Annotated[str, typer.Option("--note", help="A line for those who read the briefing.")]


def list_alarms(
    ward: WardsOption = None,
    domain: Annotated[str, typer.Option("--domain", metavar="DOMAIN", help=f"{', '.join(DOMAINS)}.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Also closed and false ones that go on.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show what is open, the worst first: `ioc.ward_briefing`.

    Example: cityfleet alarm list --ward 00070
    """
    if domain:
        _check_domain(domain)
    settings = load_settings(config, data)

    async def act(actions: AlarmActions) -> list[OpenAlarm]:
        return await actions.list_open(wards=tuple(ward or ()), domain=domain, closed=everything)

    show((_open_row(one) for one in _with_actions(settings, "reader", act)), OPEN_COLUMNS, output, name="object_id")


def acknowledge(
    domain: DomainArgument,
    object_id: ObjectArgument,
    ward: WardsOption = None,
    owner: OwnerOption = "",
    note: NoteOption = "",
    by: ByOption = "",
    at: AtOption = "",
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Say that somebody takes care of an alarm; a closed one is taken up again. Exit code 3 if there is none.

    Example: cityfleet alarm ack street_flood sf-0012 --owner "trực ban Hoàn Kiếm"
    """
    _act("acknowledged", domain, object_id, ward, owner, note, by, at, output, load_settings(config, data))


def close(
    domain: DomainArgument,
    object_id: ObjectArgument,
    ward: WardsOption = None,
    owner: OwnerOption = "",
    note: NoteOption = "",
    by: ByOption = "",
    at: AtOption = "",
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Close an alarm, also one that was over within the last 60 days. It is open again when it begins anew.

    Example: cityfleet alarm close street_flood sf-0012 --note "đã bơm"
    """
    _act("closed", domain, object_id, ward, owner, note, by, at, output, load_settings(config, data))


def call_false(
    domain: DomainArgument,
    object_id: ObjectArgument,
    ward: WardsOption = None,
    owner: OwnerOption = "",
    note: NoteOption = "",
    by: ByOption = "",
    at: AtOption = "",
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Close an alarm as a false one: `ioc.ward_effectiveness` counts it.

    Example: cityfleet alarm false street_flood sf-0012 --note "rác trên cảm biến"
    """
    _act("false_alarm", domain, object_id, ward, owner, note, by, at, output, load_settings(config, data))


def _act(
    action: ActionName,
    domain: str,
    object_id: str,
    wards: list[str] | None,
    owner: str,
    note: str,
    by: str,
    at: str,
    output: OutputFormat,
    settings: Settings,
) -> None:
    _check_domain(domain)
    moment = time_of(at, "--at")

    async def act(actions: AlarmActions) -> list[Action]:
        try:
            return await actions.act(
                action, domain, object_id, wards=tuple(wards or ()), at=moment, who=by or getpass.getuser(),
                owner=owner, note=note,
            )  # fmt: skip
        except NoAlarmError as exc:
            raise CommandError(str(exc), ExitCode.NOT_FOUND, "`cityfleet alarm list --all`") from exc
        except TooEarlyError as exc:
            raise CommandError(f"--at: {exc}", ExitCode.USAGE) from exc

    show((_action_row(one) for one in _with_actions(settings, "admin", act)), ACTION_COLUMNS, output, name="object_id")


def _check_domain(domain: str) -> None:
    if domain not in DOMAINS:
        raise CommandError(f"{domain!r} is no domain of alarms", ExitCode.USAGE, f"one of {', '.join(DOMAINS)}")


def _open_row(one: OpenAlarm) -> dict[str, Any]:
    return {
        "ward_code": one.ward_code,
        "domain": one.domain,
        "severity": one.severity,
        "object_id": one.object_id,
        "title": one.title,
        "value": one.value,
        "threshold": one.threshold,
        "since_ts": text_of(one.since_ms),
        "status": one.status,
        "owner": one.owner,
        "acknowledged_at": "" if one.acknowledged_ms is None else text_of(one.acknowledged_ms),
        "note": one.note,
    }


def _action_row(one: Action) -> dict[str, Any]:
    return {
        "ward_code": one.ward_code,
        "domain": one.domain,
        "object_id": one.object_id,
        "since_ts": text_of(one.since_ms),
        "action": one.action,
        "acted_at": text_of(one.acted_ms),
        "who": one.who,
        "owner": one.owner,
    }


def _with_actions(settings: Settings, account: AccountName, act: Callable[[AlarmActions], Awaitable[T]]) -> T:
    async def run() -> T:
        client = await open_client(settings.store, settings.data_path, account)
        try:
            return await act(AlarmActions(client))
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    except ClickHouseError as exc:
        raise CommandError(str(exc).strip().splitlines()[0]) from exc
    except OSError as exc:
        url = store_url(settings.store, settings.data_path)
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet store`"
        ) from exc
