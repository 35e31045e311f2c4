"""`cityfleet up`: all roles of one machine as supervised processes."""

import asyncio
import sys

from rich.console import Console
from rich.table import Table

from cli.errors import CommandError
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from runtime import logging, runfile
from runtime.shutdown import stop_on_signals
from runtime.supervisor import Role, RoleFailedError, Supervisor

# Started in this order, stopped in the reverse: ingest drains into a store that still runs.
_ROLES = (("store", 40.0), ("registry", 15.0), ("ingest", 40.0), ("share", 10.0))


def up(config: ConfigOption = None, data: DataOption = None) -> None:
    """Start store, registry and ingest (and share, where it is enabled) on this machine and keep them running.

    Everything lives in one data folder (default ./cityfleet-data). Ctrl-C or SIGTERM stops all, ingest first.

    Examples:
        cityfleet up
        cityfleet up --data /var/lib/cityfleet --config /etc/cityfleet.toml
    """
    settings = load_settings(config, data)
    logging.configure(settings.log, "up")
    try:
        with runfile.Lock(settings.data_path, "up"):
            asyncio.run(_supervise(settings, config))
    except runfile.AlreadyRunningError as exc:
        raise CommandError(str(exc), remedy="stop it, or use another folder with --data") from exc
    except RoleFailedError as exc:
        raise CommandError(str(exc)) from exc
    except OSError as exc:
        raise CommandError(f"data folder {settings.data_path}: {exc.strerror}") from exc


async def _supervise(settings: Settings, config: ConfigOption) -> None:
    console = Console(stderr=True)
    listening: dict[str, dict[str, str]] = {}

    def on_listening(role: str, addresses: dict[str, str]) -> None:
        is_restart = role in listening
        listening[role] = addresses
        if is_restart:
            console.print(f"{role} is back: " + ", ".join(addresses.values()))
        elif len(listening) == len(_roles(settings)):
            console.print(_table(settings, listening))
            console.print("Ready. Ctrl-C stops all.")

    arguments = ["--data", str(settings.data_path), *(["--config", str(config)] if config else [])]
    roles = [
        Role(name, [sys.executable, "-m", "cli.main", name, *arguments], stop_s) for name, stop_s in _roles(settings)
    ]
    await Supervisor(roles, settings.data_path, on_listening).run(stop_on_signals())
    console.print("Stopped.")


def _roles(settings: Settings) -> list[tuple[str, float]]:
    """The embedded store runs where no ClickHouse server is named, open formats where they are enabled."""
    is_wanted = {"store": not settings.store.url, "share": settings.share.enabled}
    return [role for role in _ROLES if is_wanted.get(role[0], True)]


def _table(settings: Settings, listening: dict[str, dict[str, str]]) -> Table:
    table = Table("role", "what", "address", box=None, pad_edge=False, header_style="bold")
    for role, addresses in listening.items():
        for kind, address in addresses.items():
            table.add_row(role, kind, address)
    table.add_row("", "data folder", str(settings.data_path))
    return table
