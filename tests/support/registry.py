"""A real registry in a process of its own, on free ports: `with running_registry(tmp_path) as registry: ...`."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc

from runtime import runfile
from runtime.bearer import bearer_channel
from runtime.secrets import secret

ROOT = Path(__file__).parents[2]
START_S = 60.0


class RunningRegistry:
    """Has `address` (gRPC, HOST:PORT), `http` (http://HOST:PORT), `data_dir`, `internal_token`."""

    def __init__(self, data_dir: Path, environ: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self._environ = dict(environ)
        self._log = data_dir / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.http = ""
        try:
            self.start()
        except BaseException:
            self.kill()  # nobody else can
            raise

    @property
    def internal_token(self) -> str:
        return secret(self.data_dir, "internal")

    @property
    def admin_token(self) -> str:
        return secret(self.data_dir, "registry-admin")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a watch of the device index must carry."""
        return (("authorization", f"Bearer {self.internal_token}"),)

    @property
    def database_url(self) -> str:
        """Of the database that it runs on, for who wants to look behind its back."""
        file = self.data_dir / "registry" / "registry.db"
        return self._environ.get("CITYFLEET_REGISTRY__DATABASE_URL", f"sqlite:///{file}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def metric(self, name: str) -> float:
        """The sum of the samples of a metric, whatever their labels."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def channel(self) -> grpc.Channel:
        """A synchronous channel, as the administrator; the caller closes it (`with`)."""
        return bearer_channel(self.address, self.admin_token)

    def start(self) -> None:
        """Start it again after stop() or kill(), on the port that it had."""
        environ = self._environment(self.address.rpartition(":")[2] or "0")
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "registry", "--data", str(self.data_dir)],
                cwd=ROOT,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in wait_until("the registry listens", START_S):
            found = runfile.read(self.data_dir, "registry")
            if found is not None and found.pid == self._process.pid:
                self.address = found.addresses["grpc"]
                self.http = found.addresses["metrics"].removesuffix("/metrics")
                return
            if self._process.poll() is not None:
                raise AssertionError(f"the registry did not start:\n{self.log}")

    def run_cli(self, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `cityfleet ARGUMENTS` to its end; without --data and --registry it finds this registry."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env=self._environment("0") | {"CITYFLEET_DATA_DIR": str(self.data_dir)} | environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start_cli(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start `cityfleet ARGUMENTS`; whoever starts it ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=ROOT,
            env=self._environment("0") | {"CITYFLEET_DATA_DIR": str(self.data_dir)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _environment(self, port: str) -> dict[str, str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("CITYFLEET_")}
        return {
            **environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}",
            "CITYFLEET_REGISTRY__LISTEN__PORT": port,
            "CITYFLEET_REGISTRY__HTTP__PORT": "0",
            # Nothing listens there, unless the test brings a store.
            "CITYFLEET_STORE__LISTEN__PORT": "1",
            **self._environ,
        }

    def stop(self) -> int:
        """SIGTERM, wait for the end, return the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(number)
        try:
            return process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def running_registry(tmp_path: Path, environ: Mapping[str, str] | None = None) -> Iterator[RunningRegistry]:
    """Run a registry on `tmp_path` as its data folder.

    Args:
        environ: more settings, as CITYFLEET_... variables.
    """
    tmp_path.mkdir(parents=True, exist_ok=True)
    registry = RunningRegistry(tmp_path, environ or {})
    try:
        yield registry
    finally:
        registry.kill()


def wait_until(claim: str, deadline_s: float = 60.0) -> Iterator[None]:
    """`for _ in wait_until("the row is there"): if ...: break`; fails with the claim when the time is up."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s:g} s: {claim}")
