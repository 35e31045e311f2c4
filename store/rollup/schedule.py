"""Passes over the steps again and again, for as long as the store runs."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import structlog
from clickhouse_connect.driver.client import Client

from store.client import open_blocking_client
from store.migrate import Ask
from store.retention import enforce
from store.rollup import metrics, step
from store.rollup.runner import Runner
from store.settings import StoreSettings

log = structlog.get_logger()
_LEASE_S = 180
_RETENTION_EVERY_S = 600.0
_DAY_S = 86_400


class Passes:
    """Run `forever` in a thread; `stop` ends it between two statements.

    Args:
        ask: runs a statement as who may do everything; called by that thread, and by one beside it.
        is_alone: no other process could do the same, so no lease is needed.
    """

    def __init__(self, ask: Ask, settings: StoreSettings, *, is_alone: bool) -> None:
        self._ask = ask
        self._settings = settings
        self._stopped = threading.Event()
        self._lease = None if is_alone else Lease(ask)
        days = settings.retention.readings_days
        self._runner = Runner(
            ask,
            step.load(),
            grace_s=settings.rollup.grace_s,
            late_s=settings.rollup.late_s,
            threads=settings.rollup.threads,
            abreast=settings.rollup.abreast,
            readings_kept_s=days * _DAY_S,
            is_alone=is_alone,
            is_stopping=self._is_stopping,
        )
        self._enforced_at_s = float("-inf")

    def forever(self) -> None:
        said = ""
        while not self._stopped.wait(self._settings.rollup.every_s):
            try:
                self.once()
                said = ""
            except Exception as exc:
                if self._stopped.is_set():
                    return
                metrics.failures.inc()
                reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
                if reason != said:
                    log.warning("rollup_failed", reason=reason)
                    said = reason

    def once(self) -> None:
        """Raises what `ask` does."""
        if self._lease is not None and not self._lease.hold():
            return
        now_s = time.monotonic()
        if now_s - self._enforced_at_s >= _RETENTION_EVERY_S:
            enforce(self._ask, self._settings.retention)
            self._enforced_at_s = now_s
        if self._settings.rollup.enabled:
            self._runner.run()

    def stop(self) -> None:
        self._stopped.set()

    def _is_stopping(self) -> bool:
        return self._stopped.is_set() or (self._lease is not None and not self._lease.hold())


class Lease:
    """Who of several computes. Two at once for a moment do the same work twice, and nothing else."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._sure_until_s = float("-inf")

    def hold(self) -> bool:
        """Take it if it is free, or keep it. Raises what `ask` does."""
        if time.monotonic() < self._sure_until_s:
            return True
        if not self._is_free():
            return False
        self._ask(
            "INSERT INTO cityfleet.rollup_lease (name, holder, until) "
            f"SELECT 'steps', {{holder:String}}, now64(3) + INTERVAL {_LEASE_S} SECOND",
            {"holder": self._holder},
        )
        if not self._is_free():
            return False
        self._sure_until_s = time.monotonic() + _LEASE_S / 3
        return True

    def _is_free(self) -> bool:
        answer = self._ask(
            "SELECT count() FROM cityfleet.rollup_lease FINAL WHERE name = 'steps' AND holder != {holder:String} "
            "AND until > now64(3)",
            {"holder": self._holder},
        )
        return answer == "0"


async def keep_server_computed(settings: StoreSettings, data_dir: Path) -> None:
    """On a ClickHouse server, which has no store role of ours beside it: as the admin account, until cancelled."""
    # A client asks one thing at a time.
    idle: list[Client] = []

    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        try:
            client = idle.pop()
        except IndexError:
            client = open_blocking_client(settings, data_dir, "admin")
        try:
            answer = client.raw_query(sql, dict(params or {}))
        finally:
            idle.append(client)
        assert isinstance(answer, bytes)
        return answer.decode().rstrip("\n")

    passes = Passes(ask, settings, is_alone=False)
    try:
        await asyncio.to_thread(passes.forever)
    finally:
        passes.stop()
