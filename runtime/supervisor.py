"""A supervisor of roles as processes: starts them in order, starts again what dies, stops them in reverse order."""

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from runtime import runfile

log = structlog.get_logger()

PARENT_VARIABLE = "CITYFLEET_SUPERVISOR_PID"
_BACKOFF_S = (0.5, 15.0)
# A role that ran this long had started well; the next failure counts as a first one.
_STEADY_S = 30.0
_PR_SET_PDEATHSIG = 1
# What a role exits with when a person must fix the settings: starting it again would change nothing.
EXIT_SETTINGS = 2


class RoleFailedError(Exception):
    """A role ended before it had ever listened, or cannot be started with these settings."""


@dataclass(frozen=True)
class Role:
    """One process to keep alive."""

    name: str
    command: Sequence[str]
    # How long it may take to leave after SIGTERM before it is killed.
    stop_s: float
    # Beside our own.
    environment: Mapping[str, str] = field(default_factory=dict)


def die_with_parent() -> bool:
    """In a supervised process: get SIGTERM when the supervisor is gone, also by kill -9 (Linux prctl).

    Returns: whether this process is supervised.
    """
    expected = os.environ.pop(PARENT_VARIABLE, "")
    if expected:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(expected):
            os.kill(os.getpid(), signal.SIGTERM)
    return bool(expected)


class Supervisor:
    """Keeps `roles` running on one data folder."""

    def __init__(
        self,
        roles: Sequence[Role],
        data_dir: Path,
        on_listening: Callable[[str, dict[str, str]], None],
        start_s: float = 60.0,
        *,
        are_independent: bool = False,
    ) -> None:
        """`on_listening` gets a role's name and addresses each time the role has started.

        Args: are_independent: all start and stop together; one that cannot be started again leaves the others alone.
        """
        self._roles = roles
        self._data_dir = data_dir
        self._on_listening = on_listening
        self._start_s = start_s
        self._are_independent = are_independent
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False

    async def run(self, stop: asyncio.Event) -> None:
        """Start all in order, serve until `stop`, stop all in reverse order.

        Raises: RoleFailedError if a role cannot be started; what had been started is stopped first.
        """
        keepers: list[asyncio.Task[None]] = []
        stopped = asyncio.create_task(stop.wait())
        try:
            for role in self._roles:
                started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                keeper = asyncio.create_task(self._keep(role, started), name=role.name)
                keepers.append(keeper)
                if self._are_independent:
                    continue
                waiting: list[asyncio.Future[Any]] = [started, keeper, stopped]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    return
                if keeper.done():
                    keeper.result()
            everything: list[asyncio.Future[Any]] = [stopped, *keepers]
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._stopping = True
            stopped.cancel()
            if self._are_independent:
                await asyncio.gather(*map(self._end, self._roles))
            else:
                for role in reversed(self._roles):
                    await self._end(role)
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, role: Role, started: "asyncio.Future[None]") -> None:
        delay_s = _BACKOFF_S[0]
        while True:
            runfile.withdraw(self._data_dir, role.name)
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *role.command,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C on the terminal is for the supervisor alone
                env={**os.environ, **role.environment, PARENT_VARIABLE: str(os.getpid())},
            )
            self._processes[role.name] = process
            try:
                listening = await self._wait_listening(role, process)
            except RoleFailedError:
                if not self._are_independent or not started.done():
                    raise
                listening = None
                process.kill()
            if listening is not None:
                self._on_listening(role.name, listening.addresses)
                if not started.done():
                    started.set_result(None)
            status = await process.wait()
            if self._stopping:
                return
            if not started.done() or (status == EXIT_SETTINGS and not self._are_independent):
                raise RoleFailedError(f"{role.name} could not start (exit status {status}); its reason is above")
            if time.monotonic() - began >= _STEADY_S:
                delay_s = _BACKOFF_S[0]
            log.warning("role_died", name=role.name, status=status, restart_s=round(delay_s, 2))
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 (jitter)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _wait_listening(self, role: Role, process: asyncio.subprocess.Process) -> runfile.RunFile | None:
        """The role's run file once this process has written it; None if it ended first.

        Raises: RoleFailedError if it neither listens nor ends in time.
        """
        deadline = time.monotonic() + self._start_s
        while process.returncode is None:
            found = runfile.read(self._data_dir, role.name)
            if found is not None and found.pid == process.pid:
                return found
            if time.monotonic() > deadline:
                raise RoleFailedError(f"{role.name} does not listen after {self._start_s:g} s")
            await asyncio.sleep(0.02)
        return None

    async def _end(self, role: Role) -> None:
        process = self._processes.get(role.name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(role.stop_s):
                await process.wait()
        except TimeoutError:
            log.error("role_killed", name=role.name, after_s=role.stop_s)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
