"""How every role runs as a process: logging, its lock, its loop, its run file, and errors that a person can act on."""

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine

import uvloop

from cli.errors import CommandError, ExitCode
from cli.settings import Settings
from runtime import logging, runfile
from runtime.shutdown import stop_on_signals
from runtime.supervisor import die_with_parent

OnListening = Callable[[dict[str, str]], None]
Body = Callable[[asyncio.Event, OnListening], Coroutine[None, None, None]]


def go_behind(nice: int) -> None:
    """Call it before there are other threads, so that they have it too. Who was started as nicer than this stays so."""
    os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), nice))


def run_role(name: str, settings: Settings, body: Body) -> None:
    """Run one role until SIGTERM or SIGINT.

    Raises: CommandError if it already runs on this data folder or an address is taken.
    """
    is_supervised = die_with_parent()
    logging.configure(settings.log, name)
    data_dir = settings.data_path

    def on_listening(addresses: dict[str, str]) -> None:
        runfile.announce(data_dir, name, addresses)
        if not is_supervised:
            print(" ".join(f"{kind}={address}" for kind, address in addresses.items()), flush=True)

    async def main() -> None:
        await body(stop_on_signals(), on_listening)

    try:
        with runfile.Lock(data_dir, name):
            try:
                uvloop.run(main())
            finally:
                runfile.withdraw(data_dir, name)
    except runfile.AlreadyRunningError as exc:
        raise CommandError(str(exc), remedy="stop it, or use another folder with --data") from exc
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise CommandError(
                f"{name}: {exc.strerror or exc}", ExitCode.USAGE, remedy="set another port in the settings file"
            ) from exc
        raise CommandError(f"{name}: {exc}") from exc
