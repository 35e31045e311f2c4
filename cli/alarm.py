"""`cityfleet alarm`: what is open and what is done about it; orders of alarm, declared by people and not by a gauge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.alarm_act import acknowledge, call_false, close, list_alarms
from cli.alarm_time import text_of, time_of
from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from store.accounts import AccountName
from store.alarm_orders import AlarmOrder, AlarmOrders, UnknownPlaceError
from store.client import open_client, store_url

app = typer.Typer(
    help="Alarms: what is open, who takes care of it; orders of alarm of the rivers.", no_args_is_help=True
)
order = typer.Typer(help="Orders of alarm: declare, withdraw, list.", no_args_is_help=True)
app.add_typer(order, name="order")
app.command("list")(list_alarms)
app.command("ack")(acknowledge)
app.command("close")(close)
app.command("false")(call_false)
T = TypeVar("T")
COLUMNS = ("order_ref", "river", "level", "ward_code", "issued_at", "withdrawn_at", "source")

RefArgument = Annotated[str, typer.Argument(metavar="ORDER", help="Number of the order, as it is signed.")]
WardOption = Annotated[
    list[str] | None, typer.Option("--ward", metavar="CODE", help="Ward of the order. May be repeated.")
]


@order.command()
def declare(
    order_ref: RefArgument,
    river: Annotated[str, typer.Option("--river", help="River, by its name: Cầu, Bùi ...")],
    level: Annotated[int, typer.Option("--level", min=1, max=3, help="Alarm level (báo động).")],
    ward: WardOption = None,
    issued: Annotated[str, typer.Option("--issued", metavar="TIME", help="2025-10-07T06:30+07:00. Default: now.")] = "",
    source: Annotated[str, typer.Option("--source", help="Where the order can be read.")] = "",
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Write down that an alarm was ordered; `ioc.ward_alarms_now` shows it at once, with the order's number.

    Without --ward it holds for all wards that the store lists for the river (`cityfleet store reference show
    river_wards`). The same order again corrects its level. It is in force until it is withdrawn, whatever gauges say.

    Examples:
        cityfleet alarm order declare 15/LĐ-BCH --river Bùi --level 2
        cityfleet alarm order declare 15/LĐ-BCH --river Bùi --level 2 --ward 10045 --issued 2025-10-07T06:30+07:00
    """
    issued_at = time_of(issued, "--issued")
    settings = load_settings(config, data)

    async def act(orders: AlarmOrders) -> list[AlarmOrder]:
        try:
            return await orders.declare(order_ref, river, level, tuple(ward or ()), issued_at, source)
        except UnknownPlaceError as exc:
            remedy = f"rivers: {', '.join(exc.known)}" if exc.known else ""
            raise CommandError(str(exc), ExitCode.NOT_FOUND, remedy) from exc

    _show(_with_orders(settings, "admin", act), output)


@order.command()
def withdraw(
    order_ref: RefArgument,
    river: Annotated[str, typer.Option("--river", help="Only on this river.")] = "",
    ward: WardOption = None,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="When it ended. Default: now.")] = "",
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """End an order, or its part for a river or for wards; exit code 3 if none was in force.

    Example: cityfleet alarm order withdraw 15/LĐ-BCH
    """
    ended_at = time_of(at, "--at")
    settings = load_settings(config, data)

    async def act(orders: AlarmOrders) -> int:
        return await orders.withdraw(order_ref, river, tuple(ward or ()), ended_at)

    if not _with_orders(settings, "admin", act):
        raise CommandError(
            f"no order {order_ref} of that kind is in force", ExitCode.NOT_FOUND, "`cityfleet alarm order list --all`"
        )
    print(f"Withdrew {order_ref}.")


@order.command("list")
def list_orders(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were withdrawn.")] = False,
    output: OutputOption = OutputFormat.TABLE,
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Show the orders that are in force, the newest first; no ward: all of the river.

    Example: cityfleet alarm order list --all -o csv
    """
    settings = load_settings(config, data)

    async def act(orders: AlarmOrders) -> list[AlarmOrder]:
        return await orders.list_orders(in_force_only=not everything)

    _show(_with_orders(settings, "reader", act), output)


def _show(orders: list[AlarmOrder], output: OutputFormat) -> None:
    show((_row(one) for one in orders), COLUMNS, output, name="order_ref")


def _row(one: AlarmOrder) -> dict[str, Any]:
    return {
        "order_ref": one.order_ref,
        "river": one.river,
        "level": one.level,
        "ward_code": one.ward_code,
        "issued_at": text_of(one.issued_ms),
        "withdrawn_at": "" if one.withdrawn_ms is None else text_of(one.withdrawn_ms),
        "source": one.source,
    }


def _with_orders(settings: Settings, account: AccountName, act: Callable[[AlarmOrders], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _opened(settings, account) as orders:
            return await act(orders)

    try:
        return asyncio.run(run())
    except ClickHouseError as exc:
        raise CommandError(str(exc).strip().splitlines()[0]) from exc
    except OSError as exc:
        url = store_url(settings.store, settings.data_path)
        raise CommandError(
            f"the store at {url} does not answer: {exc}", remedy="start it with `cityfleet store`"
        ) from exc


@asynccontextmanager
async def _opened(settings: Settings, account: AccountName) -> AsyncIterator[AlarmOrders]:
    client = await open_client(settings.store, settings.data_path, account)
    try:
        yield AlarmOrders(client)
    finally:
        await client.close()
