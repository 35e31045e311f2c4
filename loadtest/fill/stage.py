"""A store role of its own process on a folder that stays, or all roles, and SQL to it over HTTP."""

import http.client
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from loadtest.platform import ROLES, Deployment, clean_environment, write_config
from runtime import runfile
from runtime.secrets import secret

_START_S = 600.0
_STOP_S = 300.0


class Stage:
    """A running store. One per thread of `Connection`."""

    def __init__(self, data_dir: Path, ports: dict[str, int], config: Path, process: "subprocess.Popen[bytes]") -> None:
        self.data_dir = data_dir
        self.process = process
        self.pid = process.pid
        self._ports = ports
        self._port = ports["store"]
        self._config = config

    def deployment(self) -> Deployment:
        """Where all roles run."""
        return Deployment(self.data_dir, self._ports, self._config)

    def connect(self, account: str = "admin", password: str = "") -> "Connection":
        """Whoever is not an account of a ward has its password in the data folder."""
        return Connection(self._port, account, password or secret(self.data_dir, f"store-{account}"))

    def cli(self, *arguments: str) -> str:
        """What `cityfleet ARGUMENTS` prints. Raises: RuntimeError if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**clean_environment(), "CITYFLEET_CONFIG": str(self._config)},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"cityfleet {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


class Connection:
    """Statements over one connection that is kept."""

    def __init__(self, port: int, account: str, password: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=1800)
        self._headers = {"X-ClickHouse-User": account, "X-ClickHouse-Key": password}

    def ask(self, sql: str, settings: Mapping[str, object] | None = None) -> str:
        """The answer, tab-separated. Raises: RuntimeError with what the store said against it, OSError."""
        query = urllib.parse.urlencode({"default_format": "TabSeparated", **(settings or {})})
        self._http.request("POST", f"/?{query}", sql.encode(), self._headers)
        answer = self._http.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status != 200 or "__exception__" in text[-20_000:]:
            raise RuntimeError(f"{answer.status} {text[-1500:]}\n{sql[:300]}")
        return text

    def close(self) -> None:
        self._http.close()


def end_in_order() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does: what it has started is stopped."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def running_store(folder: Path, extra_config: str = "", *, with_ingest: bool = False) -> Iterator[Stage]:
    """Start a store on `folder`/data, stop it at the end; what it holds stays.

    Args:
        with_ingest: registry and ingest too, each by itself: a busy machine may take longer than `cityfleet up` waits.
    """
    data_dir = (folder / "data").resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    config = folder / "cityfleet.toml"
    ports = write_config(config, data_dir, extra_config)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(_running(role, folder, data_dir, config))
            for role in (ROLES if with_ingest else ("store",))
        ]
        yield Stage(data_dir, ports, config, processes[0])


@contextmanager
def _running(role: str, folder: Path, data_dir: Path, config: Path) -> Iterator["subprocess.Popen[bytes]"]:
    path = folder / f"{role}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", role, "--config", str(config)],
            env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_S
        while (found := runfile.read(data_dir, role)) is None or found.pid != process.pid:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{role} did not start: {path.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
