"""Single roles on one data folder: `with roles_on(tmp_path) as roles: roles.start("registry")`."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from loadtest.platform import ROOT, write_config
from runtime import runfile
from runtime.bearer import bearer_channel
from runtime.secrets import secret
from tests.support.registry import wait_until


class Roles:
    """Single roles on one data folder, started and ended one by one."""

    def __init__(self, folder: Path, extra_config: str = "") -> None:
        self.data_dir = folder / "data"
        self.data_dir.mkdir()
        self.config = folder / "cityfleet.toml"
        self.ports = write_config(self.config, self.data_dir, extra_config)
        self._log = (folder / "roles.log").open("wb")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("CITYFLEET_")}
        self.running[role] = subprocess.Popen(
            [sys.executable, "-m", "cli.main", role, "--config", str(self.config)],
            env={**environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"},
            stdout=self._log,
            stderr=self._log,
        )
        for _ in wait_until(f"{role} listens", 60):
            found = runfile.read(self.data_dir, role)
            if found is not None and found.pid == self.running[role].pid:
                return
            assert self.running[role].poll() is None, f"{role} did not start"

    def end(self, role: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.running.pop(role)
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def registry_channel(self) -> grpc.Channel:
        """A channel to the registry, as its administrator; the caller closes it (`with`)."""
        address = f"127.0.0.1:{self.ports['registry']}"
        return bearer_channel(address, secret(self.data_dir, "registry-admin"))

    def ready(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['ingest_http']}/readyz", timeout=60) as answer:
            return answer.read().decode()


@contextmanager
def roles_on(folder: Path, extra_config: str = "") -> Iterator[Roles]:
    roles = Roles(folder, extra_config)
    try:
        yield roles
    finally:
        for role in list(roles.running):
            roles.end(role)
        roles._log.close()
