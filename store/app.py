"""The store role: the embedded engine, its HTTP interface, its metrics."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from aiohttp import web

from runtime.endpoint import Endpoint
from store import metrics, migrate, numbers, reference_data, views
from store.access import accounts as of_wards
from store.access.conditions import public_rows
from store.access.declared import declared
from store.accounts import ACCOUNTS, AccountName, credentials
from store.embedded import sandbox
from store.embedded.accounts import Account, Accounts, WardAccounts
from store.embedded.engine import Engine
from store.embedded.errors import StoreError
from store.embedded.folders import Folders
from store.embedded.http import Interface
from store.embedded.quota import Quotas
from store.embedded.slots import Slots
from store.embedded.ward import Sight
from store.quarantine_limit import QuarantineLimit, keep_within_limits
from store.rollup.schedule import Passes
from store.settings import AccessSettings, EmbeddedSettings, StoreSettings

log = structlog.get_logger()
_PARTS = (
    "SELECT max(n), sum(b) FROM (SELECT count() AS n, sum(bytes_on_disk) AS b FROM system.parts WHERE active "
    "AND database = 'cityfleet' GROUP BY table, partition)"
)
_ROLLUPS = "rollups\t"  # no query id of a caller can be this: leaving would kill the passes
# Looks at what is due go behind who asks, too; without the right to set it (CAP_SYS_NICE) the engine passes over it.
_PASSING = {"log_comment": _ROLLUPS, "os_thread_priority": "10"}
_MEASURE_EVERY_S = 5.0
_LOOK_EVERY_S = 5.0


async def run(
    settings: StoreSettings,
    data_dir: Path,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
    *,
    owns_process: bool = False,
) -> None:
    """Serve until `stop`; `on_listening` gets the addresses once the store takes queries.

    Args:
        owns_process: nothing else runs in this process, so it may be fenced in for good (`settings.embedded.sandbox`).
    Raises: EngineLockedError if another process has the folder; MigrationError; OSError for a port that is taken;
        SandboxError if the fence is required and the kernel has none.
    """
    embedded = settings.embedded
    limits = {"writer": embedded.writer_queries, "admin": embedded.admin_queries, "reader": embedded.reader_queries}
    known = []
    for role in ACCOUNTS:
        user, password = credentials(settings, data_dir, role)
        known.append(
            Account(role, user, of_wards.hashed(password, ""), limits[role], own_settings=_own_settings(role, embedded))
        )
    wards = WardAccounts(of_wards.file_of(data_dir), settings.access.queries, _settings_of_wards(settings.access))
    if owns_process and embedded.sandbox != "off":
        _confine(data_dir, is_required=embedded.sandbox == "require")
    engine = await asyncio.to_thread(
        Engine,
        data_dir / "store",
        sum(limits.values()) + settings.access.all_queries + 3,
        max_memory_bytes=embedded.max_memory_bytes,
        log_days=embedded.log_days,
    )
    try:
        await asyncio.to_thread(migrate.apply, engine.ask, "embedded")
        await asyncio.to_thread(numbers.establish, engine.ask)
        await asyncio.to_thread(views.apply, engine.ask, "embedded")
        await asyncio.to_thread(reference_data.load_own, engine.ask)
        await _serve(settings, engine, Accounts(known, wards), stop, on_listening)
    finally:
        await asyncio.to_thread(engine.close)
        log.info("store_closed")


def _own_settings(role: AccountName, embedded: EmbeddedSettings) -> dict[str, str]:
    """What an account's sessions begin with."""
    if role != "reader":
        return {}
    return {
        "max_memory_usage": str(embedded.reader_memory_bytes),
        "max_execution_time": str(embedded.reader_max_execution_s),
    }


def _settings_of_wards(access: AccessSettings) -> dict[str, str]:
    return {
        "max_execution_time": str(access.max_execution_s),
        "max_memory_usage": str(access.max_memory_bytes),
        "max_result_rows": str(access.max_result_rows),
        "max_threads": str(access.max_threads),
    }


def _confine(data_dir: Path, *, is_required: bool) -> None:
    folders = [data_dir / "store", data_dir / "run"]
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        version = sandbox.confine(folders, ("store", "runtime"))
    except sandbox.SandboxError as exc:
        if is_required:
            raise
        log.warning("sandbox_unavailable", reason=str(exc))
    else:
        log.info("sandbox", landlock=version, network="closed" if version >= 4 else "open")


async def _serve(
    settings: StoreSettings,
    engine: Engine,
    known: Accounts,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    sight = Sight(declared(), await asyncio.to_thread(public_rows, engine.ask, declared()))
    every, named, kept = await asyncio.to_thread(
        lambda: (Folders(engine), Folders(engine, ("metrics", "device_types")), Folders(engine, ("quarantine",)))
    )
    access = settings.access
    interface = Interface(
        engine,
        known,
        sight,
        Slots(settings.embedded.queue_wait_s, access.all_queries),
        Quotas(access.queries_per_minute, access.execution_s_per_minute),
        settings.embedded,
    )
    runner = web.AppRunner(
        interface.application(),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        read_bufsize=1 << 20,
        max_line_size=1 << 20,  # ClickHouse's http_max_uri_size: parameters may be long lists
        shutdown_timeout=1.0,
    )
    await runner.setup()
    passes = Passes(Passing(engine), settings, is_alone=True)
    try:
        site = web.TCPSite(runner, settings.listen.host, settings.listen.port, backlog=1024)
        await site.start()
        async with Endpoint(settings.http, lambda: {"store": "is closing"} if interface.closing else {}) as endpoint:
            url = f"http://{settings.listen.host}:{runner.addresses[0][1]}"
            on_listening({"http": url, "metrics": f"http://{settings.http.host}:{endpoint.port}"})
            measuring = asyncio.create_task(_measure(engine, every), name="measure")
            looking = asyncio.create_task(_look(engine, sight, named), name="public_rows")
            limit = QuarantineLimit(
                lambda sql: engine.run(_ask_alone, engine, sql), settings.quarantine, state=kept.state
            )
            computing = asyncio.create_task(engine.run(passes.forever), name="rollups")
            limiting = asyncio.create_task(keep_within_limits(limit), name="quarantine_limit")
            await stop.wait()
            log.info("store_closing")
            measuring.cancel()
            looking.cancel()
            limiting.cancel()
            passes.stop()
            await site.stop()
            interface.closing = True
            await interface.drain(settings.embedded.drain_s)
            # What a pass was at is computed again after the next start.
            await engine.kill(_ROLLUPS)
            await asyncio.wait([computing], timeout=settings.embedded.drain_s)
    finally:
        passes.stop()
        await runner.cleanup()


class Passing:
    """Statements of the passes, each on a session of its own, that can be stopped by their tag. Blocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        session = self._engine.session()
        try:
            session.set(_PASSING)
            answer: str = session.query(sql, "TabSeparated", params).bytes().decode().rstrip("\n")
        finally:
            session.close()
        return answer


def _ask_alone(engine: Engine, sql: str, params: Mapping[str, str] | None = None) -> str:
    """On a session of its own: what takes long must not hold up the control session. Blocks."""
    session = engine.session()
    try:
        answer: str = session.query(sql, params=params).bytes().decode().rstrip("\n")
    finally:
        session.close()
    return answer


async def _look(engine: Engine, sight: Sight, folders: Folders) -> None:
    """Metrics and types come and go: what is public by its metric follows."""
    seen: tuple[int, ...] | None = None
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        state = folders.state()
        if state is not None and state == seen:
            continue
        try:
            sight.renew(
                await engine.run(public_rows, lambda sql, params=None: _ask_alone(engine, sql, params), declared())
            )
            seen = state
        except StoreError as error:
            log.warning("public_rows_unknown", reason=str(error))


async def _measure(engine: Engine, folders: Folders) -> None:
    seen: tuple[int, ...] | None = None
    while True:
        state = folders.state()
        if state is None or state != seen:
            try:
                most, size = (await engine.control(_PARTS)).split("\t")
                metrics.active_parts_max.set(int(most))
                metrics.disk_bytes.set(int(size))
                seen = state
            except StoreError as error:
                log.warning("measure_failed", reason=str(error))
        await asyncio.sleep(_MEASURE_EVERY_S)
