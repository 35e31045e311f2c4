"""A registry in a process of its own, on SQLite or on PostgreSQL, to be measured: its address, memory and CPU."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import grpc

from loadtest.bench.processes import cpu_s
from loadtest.platform import clean_environment, free_ports
from loadtest.postgresql import create_database, running_postgresql
from runtime import runfile
from runtime.secrets import secret

DATABASES = ("sqlite", "postgresql")
_START_S = 120.0
_CLI_S = 3600.0
_LOOK_S = 0.02


class RegistryStage:
    """A running registry; `address` is HOST:PORT."""

    def __init__(self, data_dir: Path, environment: dict[str, str], process: "subprocess.Popen[bytes]") -> None:
        self.data_dir = data_dir
        self.process = process
        self._environment = environment
        self.address = _address(data_dir, process)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a call of its administrator carries."""
        return (("authorization", f"Bearer {secret(self.data_dir, 'registry-admin')}"),)

    @property
    def ingest_metadata(self) -> tuple[tuple[str, str], ...]:
        """What an ingest node's watch carries."""
        return (("authorization", f"Bearer {secret(self.data_dir, 'internal')}"),)

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address, options=[("grpc.max_receive_message_length", 64 << 20)])

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def rss_bytes(self, peak: bool = False) -> int:
        """Resident memory, shared pages included: now, or the most that it ever was."""
        found = status_bytes(self.process.pid, "VmHWM" if peak else "VmRSS")
        if not found:
            raise RuntimeError("the registry has ended")
        return found

    def start_cli(
        self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL, stdout: IO[bytes] | int = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        """Start `cityfleet ARGUMENTS` on the registry's data folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**self._environment, "CITYFLEET_DATA_DIR": str(self.data_dir)},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run_cli(self, *arguments: str) -> str:
        """Run `cityfleet ARGUMENTS` to its end; what it printed. Raises: RuntimeError if it failed."""
        process = self.start_cli(*arguments)
        printed, complaint = process.communicate(timeout=_CLI_S)
        if process.returncode:
            raise RuntimeError(f"cityfleet {' '.join(arguments)}: {process.returncode}\n{printed}\n{complaint}")
        return printed


def wait_for(process: "subprocess.Popen[str]", peak: int = 0) -> tuple[int, resource.struct_rusage]:
    """Wait for the end of a command: the most resident memory that it was seen to have, in bytes, and what it used.

    `ru_maxrss` would not do: a child begins with what its parent had.

    Args: peak: what it was seen to have before.
    """
    while True:
        # First: of what has ended nothing is left to see.
        peak = max(peak, status_bytes(process.pid, "VmHWM"))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            return peak, used
        time.sleep(_LOOK_S)


def status_bytes(pid: int, name: str) -> int:
    """A size of /proc/PID/status, such as VmRSS; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


@contextmanager
def running_stage(database: str, folder: Path) -> Iterator[RegistryStage]:
    """Run a registry below `folder`, durable as in earnest, without a store.

    Args: database: one of DATABASES.
    """
    data_dir = folder / "data"
    data_dir.mkdir(parents=True)
    with ExitStack() as stack:
        environment = {
            **clean_environment(),
            "CITYFLEET_REGISTRY__LISTEN__PORT": "0",
            "CITYFLEET_REGISTRY__HTTP__PORT": "0",
            # Nothing listens there: the copy to the store has its own figures.
            "CITYFLEET_STORE__LISTEN__PORT": str(free_ports(1)[0]),
        }
        if database == "postgresql":
            server = stack.enter_context(running_postgresql(is_durable=True))
            environment["CITYFLEET_REGISTRY__DATABASE_URL"] = create_database(server, "registry")
        log = stack.enter_context((folder / "registry.log").open("wb"))
        command = [sys.executable, "-m", "cli.main", "registry", "--data", str(data_dir)]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield RegistryStage(data_dir, environment, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(data_dir: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        found = runfile.read(data_dir, "registry")
        if found is not None and found.pid == process.pid:
            return found.addresses["grpc"]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"the registry did not start:\n{(data_dir.parent / 'registry.log').read_text()[-4000:]}")
