"""The whole platform as a user starts it, for tests, the demo and benchmarks: `cityfleet up` on free ports."""

import fcntl
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from runtime import runfile
from runtime.bearer import bearer_channel
from runtime.secrets import secret

ROOT = Path(__file__).parents[1]
ROLES = ("store", "registry", "ingest")
_WORKER = re.compile(r'worker="\d+",?')


# Below what the kernel hands out for connections: a server that is away for a while finds its port as it left it.
_PORTS = range(10_000, 30_000)
_last_port = os.getpid() * 64


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on, all different, ours until this process ends."""
    global _last_port
    found: list[int] = []
    while len(found) < count:
        _last_port += 1
        port = _PORTS[_last_port % len(_PORTS)]
        if _claim(port) and _is_free(port):
            found.append(port)
    return found


@functools.cache
def _claims() -> int:
    """A file whose byte N is locked by who has port N: the kernel lets go of it when that process ends.

    In this tree and not where TMPDIR says: an engine in the process sets that to a folder of its own.
    """
    path = ROOT / "build" / "ports.lock"
    path.parent.mkdir(exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _claim(port: int) -> bool:
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Deployment:
    """Addresses, accounts and commands of the roles on one data folder, whoever runs them."""

    def __init__(self, data_dir: Path, ports: dict[str, int], config: Path) -> None:
        self.data_dir = data_dir
        self.config = config
        self.mqtt_port = ports["mqtt"]
        self.grpc = f"127.0.0.1:{ports['grpc']}"
        self.registry = f"127.0.0.1:{ports['registry']}"
        self.store_url = f"http://127.0.0.1:{ports['store']}"
        self.metrics_ports = {role: ports[f"{role}_http"] for role in ROLES}
        self.environment = clean_environment()

    def cli(self, *arguments: str, check: bool = True, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run `cityfleet ARGUMENTS` against this platform."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**self.environment, "CITYFLEET_CONFIG": str(self.config)},
            cwd=self.data_dir,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"cityfleet {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def query(self, sql: str, account: str = "reader") -> list[list[str]]:
        """Rows of a SELECT as lists of text, over plain HTTP."""
        parameters = urllib.parse.urlencode({"default_format": "TabSeparated"})
        request = urllib.request.Request(
            f"{self.store_url}/?{parameters}",
            data=sql.encode(),
            headers={
                "X-ClickHouse-User": account,
                "X-ClickHouse-Key": secret(self.data_dir, f"store-{account}"),
            },
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return [line.split("\t") for line in response.read().decode().splitlines()]

    def wait_for(self, sql: str, expected: list[list[str]], seconds: float = 60.0) -> None:
        """Ask until the answer is `expected`."""
        deadline = time.monotonic() + seconds
        while (answer := self.query(sql)) != expected:
            if time.monotonic() > deadline:
                raise AssertionError(f"{sql}\nexpected {expected}\nanswered {answer[:20]}")
            time.sleep(0.1)

    def metric(self, role: str, name: str) -> float:
        """One sample of a role's metrics, as it stands in the text: `cityfleet_x_total{reason="y"}`.

        Where the role has several workers: the sum over them.
        """
        found = 0.0
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_ports[role]}/metrics", timeout=10) as response:
            for line in response.read().decode().splitlines():
                sample, _, value = line.rpartition(" ")
                if sample == name or _WORKER.sub("", sample).replace("{}", "") == name:
                    found += float(value)
        return found

    def find_pid(self, role: str) -> int | None:
        """The role's process, None while it is away."""
        found = runfile.read(self.data_dir, role)
        return found.pid if found else None

    def pid(self, role: str) -> int:
        found = self.find_pid(role)
        assert found is not None, f"{role} does not run"
        return found

    def worker_pid(self, number: int) -> int | None:
        """The process of one of ingest's workers, None while it is away."""
        return self.find_pid(f"ingest-{number}")

    def registry_channel(self) -> grpc.Channel:
        """A channel to the registry, as its administrator; the caller closes it (`with`)."""
        return bearer_channel(self.registry, secret(self.data_dir, "registry-admin"))


class Platform(Deployment):
    """A running `cityfleet up`."""

    def __init__(self, data_dir: Path, ports: dict[str, int], process: "subprocess.Popen[bytes]", config: Path) -> None:
        super().__init__(data_dir, ports, config)
        self.process = process

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def clean_environment() -> dict[str, str]:
    """Ours without settings of cityfleet, and with the place of the code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CITYFLEET_")}
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}


def write_config(path: Path, data_dir: Path, extra: str = "") -> dict[str, int]:
    """A settings file with free ports everywhere; returns the ports."""
    names = ("mqtt", "grpc", "registry", "store", "store_http", "registry_http", "ingest_http")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    path.write_text(
        f'data_dir = "{data_dir}"\n'
        f"store.listen.port = {ports['store']}\nstore.http.port = {ports['store_http']}\n"
        f"registry.listen.port = {ports['registry']}\nregistry.http.port = {ports['registry_http']}\n"
        f"ingest.mqtt.port = {ports['mqtt']}\ningest.grpc.port = {ports['grpc']}\n"
        f"ingest.http.port = {ports['ingest_http']}\n{extra}\n"
    )
    return ports


@contextmanager
def running_platform(folder: Path, extra_config: str = "") -> Iterator[Platform]:
    """Start the platform below `folder`, give it to the test, stop it."""
    data_dir = folder / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    config = folder / "cityfleet.toml"
    ports = write_config(config, data_dir, extra_config)
    log = (folder / "up.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "up", "--config", str(config)],
        env=clean_environment(),
        stdout=log,
        stderr=log,
    )
    platform = Platform(data_dir, ports, process, config)
    try:
        deadline = time.monotonic() + 60
        while not all(runfile.read(data_dir, role) for role in ROLES):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the platform did not start:\n{(folder / 'up.log').read_text()[-4000:]}")
            time.sleep(0.05)
        yield platform
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
