"""The deployment that is checked: its settings, its data folder, and what its roles answer. Asked once each."""

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib import error, parse, request

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from cli.settings import Settings
from runtime import runfile
from runtime.settings import ListenSettings
from store.accounts import credentials
from store.client import store_url

_TIMEOUT_S = 5.0
ROLES = ("store", "registry", "ingest", "share")


class StoreAwayError(Exception):
    """The store does not answer; the text says why."""


class RoleAnswer(msgspec.Struct, frozen=True):
    """What one role says of itself; `address` is empty if nobody knows where it listens."""

    address: str
    pid: int | None
    is_up: bool = False
    # Why it cannot do its job, and what it does without; by name.
    missing: dict[str, str] = {}
    degraded: dict[str, str] = {}
    # Samples by name and labels.
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    reason: str = ""

    def value(self, name: str, **labels: str) -> float | None:
        """Sum over the samples of that name with these labels, workers for example; None if there is none."""
        found = [
            value
            for (known, have), value in self.samples.items()
            if known == name and labels.items() <= dict(have).items()
        ]
        return sum(found) if found else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The samples of that name by one label; those of several workers are added."""
        found: dict[str, float] = {}
        for (known, have), value in self.samples.items():
            if known == name and label in dict(have):
                key = dict(have)[label]
                found[key] = found.get(key, 0.0) + value
        return found


class Deployment:
    """`data_dir` need not exist, and no role need run."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data_dir = settings.data_path
        self._roles: dict[str, RoleAnswer] = {}

    @property
    def roles(self) -> tuple[str, ...]:
        """Those that this deployment runs itself."""
        is_run = {
            "store": not self.settings.store.url,
            "share": self.settings.share.enabled or runfile.read(self.data_dir, "share") is not None,
        }
        return tuple(role for role in ROLES if is_run.get(role, True))

    def role(self, name: str) -> RoleAnswer:
        if name not in self._roles:
            self._roles[name] = self._ask_role(name)
        return self._roles[name]

    @cached_property
    def is_anything_up(self) -> bool:
        return any(self.role(role).is_up or self.role(role).pid for role in self.roles)

    def ingest_pids(self) -> list[int]:
        """Processes of ingest that run on this machine: those that hold connections."""
        workers = self.settings.ingest.workers
        names = ["ingest"] if workers == 1 else [f"ingest-{number}" for number in range(workers)]
        found = (runfile.read(self.data_dir, name) for name in names)
        return [run.pid for run in found if run is not None]

    def ingest_paths(self, pattern: str) -> list[Path]:
        """Files or folders below `<data>/ingest`: a worker's own carry its number."""
        return sorted((self.data_dir / "ingest").glob(pattern))

    def ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        """A statement's answer as tab-separated text, as the admin account.

        Raises: StoreAwayError; ValueError with the store's words if it refuses.
        """
        if self._store_reason:
            raise StoreAwayError(self._store_reason)
        return self._ask(sql, params)

    @cached_property
    def _store_reason(self) -> str:
        try:
            self._ask("SELECT 1")
        except (StoreAwayError, ValueError) as exc:
            return str(exc)
        return ""

    def _ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        settings = self.settings.store
        url = store_url(settings, self.data_dir)
        if not settings.admin_password and not (self.data_dir / "secrets" / "store-admin").exists():
            raise StoreAwayError(f"there is no password of the admin account below {self.data_dir}")
        user, password = credentials(settings, self.data_dir, "admin")
        query = parse.urlencode(
            {"default_format": "TabSeparated", **{f"param_{k}": v for k, v in (params or {}).items()}}
        )
        if not url.startswith(("http://", "https://")):
            raise StoreAwayError(f"store.url must be an http or https address, not {url!r}")
        asked = request.Request(  # noqa: S310 (checked above)
            f"{url}/?{query}", data=sql.encode(), headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
        )
        try:
            with request.urlopen(asked, timeout=30) as answer:  # noqa: S310 (checked above)
                return str(answer.read().decode()).rstrip("\n")
        except error.HTTPError as exc:
            raise ValueError(exc.read().decode(errors="replace").strip().splitlines()[0][:300]) from exc
        except (OSError, ValueError) as exc:
            raise StoreAwayError(f"{url} does not answer: {getattr(exc, 'reason', exc)}") from exc

    def store_clock_ahead_s(self) -> tuple[float, float]:
        """The store's clock against ours, and how exact that is. Raises as `ask`."""
        self.ask("SELECT 1")
        before = time.time()
        theirs = int(self.ask("SELECT toUnixTimestamp64Milli(now64(3))")) / 1000
        after = time.time()
        return theirs - (before + after) / 2, (after - before) / 2

    def _ask_role(self, name: str) -> RoleAnswer:
        run = runfile.read(self.data_dir, name)
        section = getattr(self.settings, name)
        listen: ListenSettings = section.http
        address = run.addresses.get("metrics", "").removesuffix("/metrics") if run else ""
        if not address and listen.port:
            host = "127.0.0.1" if listen.host in ("0.0.0.0", "::") else listen.host  # noqa: S104
            address = f"http://{f'[{host}]' if ':' in host else host}:{listen.port}"
        pid = run.pid if run else None
        if not address:
            return RoleAnswer(address, pid, reason="not running")
        try:
            missing, degraded = _readiness(_get(f"{address}/readyz"))
            samples = _samples(_get(f"{address}/metrics"))
        except OSError as exc:
            return RoleAnswer(address, pid, reason=str(getattr(exc, "reason", exc)))
        except ValueError as exc:
            return RoleAnswer(address, pid, reason=f"something else listens there: {exc}")
        return RoleAnswer(address, pid, True, missing, degraded, samples)


def _get(url: str) -> str:
    try:
        with request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (made of host and port)
            return str(answer.read().decode())
    except error.HTTPError as exc:
        if exc.code != 503:  # not ready: the text says why
            raise ValueError(f"{url}: {exc.code} {exc.reason}") from exc
        return exc.read().decode()


def _readiness(text: str) -> tuple[dict[str, str], dict[str, str]]:
    missing: dict[str, str] = {}
    degraded: dict[str, str] = {}
    for line in text.splitlines():
        is_degraded = line.startswith("degraded: ")
        name, colon, reason = line.removeprefix("degraded: ").partition(": ")
        if colon:
            (degraded if is_degraded else missing)[name] = reason
    return missing, degraded


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
