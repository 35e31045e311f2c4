"""Store, registry and ingest as processes of the harness: started, killed, stopped and continued one by one."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from loadtest.bench.processes import family
from loadtest.platform import Deployment, clean_environment, write_config
from runtime import runfile
from runtime.supervisor import PARENT_VARIABLE

ORDER = ("store", "registry", "ingest")
_SAMPLE_S = 0.25
_START_S = 60.0


class RoleDiedError(Exception):
    """A role ended though nobody killed it; the text has the end of its log."""


class Roles(Deployment):
    """`with Roles(folder) as roles: await roles.up(); roles.kill("ingest"); await roles.up("ingest")`.

    Args:
        settings: TOML lines (dotted keys) beside the ports, which are free ones.
    """

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.folder = folder
        data_dir = folder / "data"
        data_dir.mkdir(parents=True, exist_ok=True)
        self.config = folder / "cityfleet.toml"
        self.ports = write_config(self.config, data_dir, f'log.format = "json"\n{settings}')
        super().__init__(data_dir, self.ports, self.config)
        # Beside our own environment, by role: CITYFLEET_STORE__URL, LD_PRELOAD, ...
        self.environment_of: dict[str, dict[str, str]] = {}
        # Before the role's command, by role; it must exec it.
        self.prefix_of: dict[str, Sequence[str]] = {}
        self.peak_rss_mb: dict[str, float] = {}
        self.starts: dict[str, int] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="rss", daemon=True)

    def __enter__(self) -> "Roles":
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process, gently only if nothing went wrong."""
        self._ended.set()
        for role in reversed(ORDER):
            if kind is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.terminate(role)
            self.kill(role)
        self._sampler.join()

    def start(self, role: str) -> None:
        """Start the role's process and return at once; its output goes to `<folder>/<role>.log`."""
        assert not self.is_running(role), f"{role} runs"
        environment = {
            **clean_environment(),
            PARENT_VARIABLE: str(os.getpid()),  # it ends with us
            **self.environment_of.get(role, {}),
        }
        with (self.folder / f"{role}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(
                [*self.prefix_of.get(role, ()), sys.executable, "-m", "cli.main", role, "--config", str(self.config)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.starts[role] = self.starts.get(role, 0) + 1

    async def up(self, *roles: str, seconds: float = _START_S) -> None:
        """Start these roles (all, in their order, without names) and wait until they listen.

        Raises: RoleDiedError, TimeoutError.
        """
        for role in roles or ORDER:
            if not self.is_running(role):
                self.start(role)
            await self.listening(role, seconds)

    async def listening(self, role: str, seconds: float = _START_S) -> None:
        """Wait until the role, which was started, listens. Raises: RoleDiedError, TimeoutError."""
        deadline = time.monotonic() + seconds
        while not self.is_listening(role):
            if not self.is_running(role):
                raise RoleDiedError(f"{role} ended with {self._processes[role].returncode}: {self.log_end(role)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{role} does not listen: {self.log_end(role)}")
            await asyncio.sleep(0.02)

    def is_running(self, role: str) -> bool:
        process = self._processes.get(role)
        return process is not None and process.poll() is None

    def is_listening(self, role: str) -> bool:
        found = runfile.read(self.data_dir, role)
        return found is not None and self.is_running(role) and found.pid == self._processes[role].pid

    def signal(self, role: str, number: int) -> None:
        if self.is_running(role):
            self._processes[role].send_signal(number)

    def kill(self, *roles: str) -> None:
        """kill -9 of these roles at once; they are gone on return."""
        running = [self._processes[role] for role in roles if self.is_running(role)]
        for process in running:
            process.kill()
        for process in running:
            process.wait()

    def freeze(self, role: str) -> None:
        """SIGSTOP: the process is there and does nothing."""
        self.signal(role, signal.SIGSTOP)

    def thaw(self, role: str) -> None:
        self.signal(role, signal.SIGCONT)

    def terminate(self, role: str, seconds: float = 60.0) -> int:
        """SIGTERM, and the exit status. Raises: subprocess.TimeoutExpired."""
        if not self.is_running(role):
            return 0
        self.thaw(role)
        self.signal(role, signal.SIGTERM)
        return self._processes[role].wait(seconds)

    def log_end(self, role: str, size: int = 1500) -> str:
        path = self.folder / f"{role}.log"
        return path.read_bytes()[-size:].decode(errors="replace") if path.exists() else ""

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            for role, process in list(self._processes.items()):
                peak = peak_rss_mb(family(process.pid))
                self.peak_rss_mb[role] = max(peak, self.peak_rss_mb.get(role, 0.0))


def peak_rss_mb(pids: Iterable[int]) -> float:
    """The highest resident memory that these processes had, summed."""
    total_kb = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total_kb += int(line.split()[1])
    return total_kb / 1000
