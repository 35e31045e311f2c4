"""The real store role in a process of its own, on free ports, for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib import error, parse, request

import msgspec

from store.accounts import AccountName, credentials
from store.settings import StoreSettings

_ROOT = Path(__file__).parents[2]


class QueryError(Exception):
    """The store refused: `status` of HTTP, `code` of ClickHouse, its text."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.code = code


@dataclass
class StoreHandle:
    """A running store. `kill` and `start` again play a crash."""

    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    url: str = ""
    metrics_url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def settings(self) -> StoreSettings:
        """For whoever is to reach this store."""
        return StoreSettings(url=self.url)

    @property
    def writer_password(self) -> str:
        return self.password("writer")

    @property
    def admin_password(self) -> str:
        return self.password("admin")

    @property
    def reader_password(self) -> str:
        return self.password("reader")

    def password(self, account: AccountName) -> str:
        return credentials(StoreSettings(), self.data_dir, account)[1]

    @property
    def port(self) -> int:
        return parse.urlsplit(self.url).port or 0

    def start(self, timeout_s: float = 120.0) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        log = (self.data_dir / "store.log").open("ab")
        # Rollups of what a test inserts, years at times, would be computed beside all tests; few ask for them.
        apart = {
            "CITYFLEET_STORE__LISTEN__PORT": "0",
            "CITYFLEET_STORE__HTTP__PORT": "0",
            "CITYFLEET_STORE__ROLLUP__ENABLED": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "store", "--data", str(self.data_dir)],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": f"{_ROOT}:{_ROOT / 'proto/gen'}", **apart, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        run_file = self.data_dir / "run" / "store.json"
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the store ended with {self.process.returncode}: {self.log()[-2000:]}")
            with contextlib.suppress(OSError, msgspec.DecodeError):
                found = msgspec.json.decode(run_file.read_bytes())
                if found["pid"] == self.process.pid:
                    self.url, self.metrics_url = found["addresses"]["http"], found["addresses"]["metrics"]
                    return
            time.sleep(0.02)
        raise TimeoutError(f"the store did not start: {self.log()[-2000:]}")

    def stop(self, timeout_s: float = 90.0) -> int:
        """SIGTERM, wait; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL: what a crash leaves behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        return (self.data_dir / "store.log").read_text(errors="replace")

    def query(
        self, sql: str | bytes, account: AccountName = "reader", data: bytes | None = None, **parameters: object
    ) -> str:
        """Run one statement over HTTP as ClickHouse clients do; `data` is the body of an INSERT. Raises QueryError."""
        return self.request(sql, account, data, **parameters).decode()

    def request(
        self, sql: str | bytes, account: AccountName = "reader", data: bytes | None = None, **parameters: object
    ) -> bytes:
        values = {name: str(value) for name, value in parameters.items()}
        if data is not None:
            values["query"] = sql if isinstance(sql, str) else sql.decode()
        body = data if data is not None else sql.encode() if isinstance(sql, str) else sql
        asked = request.Request(f"{self.url}/?{parse.urlencode(values)}", data=body)
        asked.add_header("X-ClickHouse-User", account)
        asked.add_header("X-ClickHouse-Key", self.password(account))
        try:
            with request.urlopen(asked, timeout=60) as answer:
                found: bytes = answer.read()
        except error.HTTPError as exc:
            code = int(exc.headers.get("X-ClickHouse-Exception-Code") or 0)
            raise QueryError(exc.code, code, exc.read().decode(errors="replace")) from None
        return found

    def rows(self, sql: str, account: AccountName = "reader", **parameters: object) -> list[list[str]]:
        """The answer as tab-separated fields."""
        return [line.split("\t") for line in self.query(sql, account, **parameters).splitlines()]


@contextlib.contextmanager
def running_store(folder: Path, **environ: str) -> Iterator[StoreHandle]:
    """`with running_store(tmp_path) as store:`

    Args:
        environ: settings, as CITYFLEET_... variables.
    """
    handle = StoreHandle(folder / "data", environ=dict(environ))
    try:
        handle.start()
        yield handle
        handle.stop()
    finally:
        handle.kill()
