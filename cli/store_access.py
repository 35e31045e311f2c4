"""`cityfleet store access`: accounts of wards, and whether everything in the store has a rule for them."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError, ExitCode
from cli.output import OutputFormat, OutputOption, show
from cli.settings import ConfigOption, DataOption, Settings
from cli.store_remote import RemoteStore, settings_of
from store.access import accounts as known
from store.access import check as checking
from store.access import ddl
from store.access.accounts import AccessError, WardAccount
from store.access.conditions import public_rows
from store.access.declared import declared

app = typer.Typer(help="Accounts of wards: who sees which ward's rows of the store.", no_args_is_help=True)
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; change nothing.")]
_User = Annotated[str, typer.Argument(help="Name of the account.", metavar="USER")]
_NORMAL = re.compile(r"[\s()`]+")


@app.command()
def apply(
    context: typer.Context, config: ConfigOption = None, data: DataOption = None, dry_run: _DryRun = False
) -> None:
    """Make an account for every ward that has none, and bring a ClickHouse server's roles and policies up to date.

    The accounts are `ward_<code>`; new passwords are added to <data>/secrets/store-wards.csv. The embedded store knows
    them at once. A server (store.url) gets roles, row policies, grants, limits and users; run it again after an upgrade
    and whenever another metric or type becomes public.

    Example: cityfleet store access apply --dry-run
    """
    settings = settings_of(context, config, data)
    store = RemoteStore(settings)
    try:
        wards = store.ask("SELECT ward_code FROM cityfleet.wards FINAL ORDER BY ward_code").split()
        made: list[tuple[WardAccount, str]] = []

        def change(accounts: dict[str, WardAccount]) -> None:
            made.extend(known.made(f"ward_{ward}", [ward]) for ward in wards if f"ward_{ward}" not in accounts)
            if not dry_run:
                _keep(settings, made)
            accounts.update({account.user: account for account, _ in made})

        accounts = _changed(settings, change, dry_run=dry_run)
        statements = _statements(settings, store, accounts.values()) if settings.store.url else []
        if dry_run:
            print("".join(f"-- new account {account.user}\n" for account, _ in made), end="")
            print("".join(f"{statement};\n" for statement in statements), end="")
            return
        for statement in statements:
            store.ask(statement)
    finally:
        store.close()
    print(f"{len(accounts)} accounts, {len(made)} of them new" + (f": {_passwords(settings)}" if made else ""))


@app.command()
def check(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List every table and view without a fitting rule, and on a server every row policy that is missing or different.

    Example: cityfleet store access check
    """
    settings = settings_of(context, config, data)
    store = RemoteStore(settings)
    try:
        found = [(problem.name, problem.what) for problem in checking.problems(checking.tables(store.ask), declared())]
        if settings.store.url:
            found += _missing(store, _accounts(settings).values())
    finally:
        store.close()
    show([{"name": name, "problem": what} for name, what in found], ["name", "problem"], output, name="name")
    if found:
        raise typer.Exit(ExitCode.ERROR)


@app.command("list")
def list_(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """List the accounts and the wards that they see.

    Example: cityfleet store access list -o json
    """
    rows: list[dict[str, Any]] = [
        {"user": account.user, "wards": ",".join(account.wards)}
        for _, account in sorted(_accounts(settings_of(context, config, data)).items())
    ]
    show(rows, ["user", "wards"], output, name="user")


@app.command()
def add(
    context: typer.Context,
    user: _User,
    wards: Annotated[list[str], typer.Option("--ward", help="Code of a ward it sees; may be given again.")],
    config: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Add an account, for several wards or beside the one that `apply` makes; its password is printed once.

    Example: cityfleet store access add ioc_inner_city --ward 00070 --ward 00004
    """
    settings = settings_of(context, config, data)
    if user in (settings.store.writer_user, settings.store.admin_user, settings.store.reader_user):
        raise CommandError(f"{user} is an account of the store already")

    def change(accounts: dict[str, WardAccount]) -> str:
        if user in accounts:
            raise AccessError(f"{user} exists; `store access password {user}` gives it another password")
        accounts[user], password = known.made(user, wards)
        return password

    _renew(settings, change)


@app.command()
def password(context: typer.Context, user: _User, config: ConfigOption = None, data: DataOption = None) -> None:
    """Give an account another password, printed once; the one before is void at once.

    Example: cityfleet store access password ward_00070
    """

    def change(accounts: dict[str, WardAccount]) -> str:
        if user not in accounts:
            raise AccessError(f"there is no account {user}")
        accounts[user], new = known.made(user, accounts[user].wards)
        return new

    _renew(settings_of(context, config, data), change)


@app.command()
def remove(context: typer.Context, user: _User, config: ConfigOption = None, data: DataOption = None) -> None:
    """Take an account away; it can ask no more.

    Example: cityfleet store access remove ward_00070
    """
    settings = settings_of(context, config, data)

    def change(accounts: dict[str, WardAccount]) -> None:
        if accounts.pop(user, None) is None:
            raise AccessError(f"there is no account {user}")

    _changed(settings, change)
    if settings.store.url:
        _run(settings, ddl.removal(user, _on_cluster(settings)))


def _accounts(settings: Settings) -> dict[str, WardAccount]:
    try:
        return known.load(known.file_of(settings.data_path))
    except (AccessError, OSError) as exc:
        raise CommandError(str(exc)) from exc


def _changed(
    settings: Settings, change: Callable[[dict[str, WardAccount]], Any], *, dry_run: bool = False
) -> dict[str, WardAccount]:
    """The accounts as `change` leaves them, written unless it is a trial."""
    if dry_run:
        accounts = _accounts(settings)
        change(accounts)
        return accounts
    try:
        with known.editing(known.file_of(settings.data_path)) as accounts:
            change(accounts)
    except (AccessError, OSError) as exc:
        raise CommandError(str(exc)) from exc
    return accounts


def _renew(settings: Settings, change: Callable[[dict[str, WardAccount]], str]) -> None:
    """Change one account, tell a server, print the password."""
    passwords: list[str] = []
    accounts = _changed(settings, lambda found: passwords.append(change(found)))
    if settings.store.url:
        store = RemoteStore(settings)
        try:
            for statement in _statements(settings, store, accounts.values()):
                store.ask(statement)
        finally:
            store.close()
    print(passwords[0])


def _statements(settings: Settings, store: RemoteStore, accounts: Iterable[WardAccount]) -> list[str]:
    visibility = declared()
    return ddl.statements(
        visibility,
        checking.tables(store.ask),
        accounts,
        public_rows(store.ask, visibility),
        settings.store.access,
        _on_cluster(settings),
    )


def _on_cluster(settings: Settings) -> str:
    return "ON CLUSTER '{cluster}'" if settings.store.profile == "cluster" else ""


def _run(settings: Settings, statements: Iterable[str]) -> None:
    store = RemoteStore(settings)
    try:
        for statement in statements:
            store.ask(statement)
    finally:
        store.close()


def _missing(store: RemoteStore, accounts: Iterable[WardAccount]) -> list[tuple[str, str]]:
    """Row policies that a server lacks, or has with another condition."""
    there = {table.name for table in checking.tables(store.ask) if table.engine != "MaterializedView"}
    has = {}
    for line in store.ask(
        "SELECT short_name, concat(database, '.', table), hex(select_filter) FROM system.row_policies"
    ).splitlines():
        name, table, expression = line.split("\t")
        has[name, table] = bytes.fromhex(expression).decode()
    problems = []
    for (name, table), (expression, _) in ddl.policies(
        declared(), accounts, public_rows(store.ask, declared())
    ).items():
        if table not in there:
            continue
        if (name, table) not in has:
            problems.append((table, f"has no row policy {name}: run `cityfleet store access apply`"))
        elif _NORMAL.sub("", has[name, table]) != _NORMAL.sub("", expression):
            problems.append((table, f"its row policy {name} is {has[name, table]}, not {expression}"))
    return problems


def _passwords(settings: Settings) -> Path:
    return settings.data_path / "secrets" / "store-wards.csv"


def _keep(settings: Settings, made: list[tuple[WardAccount, str]]) -> None:
    """New passwords go to a file that only its owner reads, before the accounts exist."""
    if not made:
        return
    path = _passwords(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
        file.writelines(f"{account.user},{','.join(account.wards)},{new}\n" for account, new in made)
        file.flush()
        os.fsync(file.fileno())
