"""The registry role: the database, the gRPC services, the copy to ClickHouse."""

import asyncio
import contextlib
import errno
import gc
from collections.abc import Callable
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from registry import metrics, services
from registry.access.authenticate import Authenticator
from registry.access.first import FILE, plant_admin
from registry.api.bulk import WORKS
from registry.api.call import Frame
from registry.api.peer import Forwarding
from registry.api.replay import KEPT_MS
from registry.audit.event import Origin
from registry.audit.log import recorded
from registry.audit.verify import remove_old
from registry.db import devices as db_devices
from registry.db import request_ids, sequence
from registry.db.engine import Database, sqlite_url
from registry.devices import lifecycle
from registry.devices.catalogue import plant_starter_catalogue
from registry.dimensions.sync import DimensionSync
from registry.http.gateway import Gateway
from registry.http.routes import routes_of
from registry.operations.attended import AttendedOperations
from registry.operations.runner import Runner
from registry.serving import Serving
from registry.settings import RegistrySettings
from registry.sites import sites
from registry.state.reports import forget_lost_nodes, has_lost_nodes
from runtime.endpoint import Endpoint
from runtime.secrets import renew_secret, secret
from runtime.settings import SettingsError
from runtime.shutdown import end_tasks
from store.settings import StoreSettings

GRACE_S = 5.0
GAUGE_PERIOD_S = 15.0
PURGE_PERIOD_S = 600.0
USES_PERIOD_S = 30.0
NODES_PERIOD_S = 15.0
# A filter may have 10,000 characters, which may be nine bytes each in a URL.
MAX_LINE_BYTES = 128 << 10
# A snapshot message of the device index has some thousands of devices; clients may keep their default of 4 MiB.
OPTIONS = (
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.so_reuseport", 0),  # a second registry on the same port must fail, not share its calls
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # A client that is gone without a word, with a watch open perhaps.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
log = structlog.get_logger()


async def run(
    settings: RegistrySettings,
    store: StoreSettings,
    data_dir: Path,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    """Serve until `stop` is set.

    Args:
        on_listening: called once calls are answered, with the addresses: `grpc` as HOST:PORT, `metrics` as a URL.
    Raises: OSError if an address is taken or the database cannot be used, SettingsError for a wrong database_url.
    """
    url = settings.database_url or sqlite_url(data_dir / "registry" / "registry.db")
    try:
        database = Database(url)
    except (ArgumentError, ImportError) as exc:
        raise SettingsError(f"registry.database_url: {exc}") from exc
    try:
        try:
            await database.open()
        except DBAPIError as exc:
            raise OSError(f"the registry's database cannot be used: {exc.orig}") from exc
        if await database.write(plant_starter_catalogue):
            log.info("starter_catalogue_created")
        await _plant_admin(database, data_dir)
        sync = DimensionSync(database, store, data_dir)
        await _serve(settings, data_dir, database, sync, stop, on_listening)
    finally:
        database.close()


async def _plant_admin(database: Database, data_dir: Path) -> None:
    origin = Origin("internal", "first-administrator")
    if not await database.write(recorded, origin, plant_admin, secret(data_dir, FILE)):
        new = renew_secret(data_dir, FILE)
        log.warning("registry_admin_token_renewed", reason="the one before was revoked")
        await database.write(recorded, origin, plant_admin, new)


async def _serve(
    settings: RegistrySettings,
    data_dir: Path,
    database: Database,
    sync: DimensionSync,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    authenticator, forwarding = Authenticator(database, secret(data_dir, "internal")), Forwarding()
    frame = Frame(database, authenticator, forwarding)
    server = grpc.aio.server(interceptors=[frame], options=OPTIONS, compression=grpc.Compression.NoCompression)
    runner, attended = Runner(database, WORKS), AttendedOperations(database)
    methods = services.ByName(server)
    for service in services.SERVICES:
        service.add_to(methods, services.Parts(database, runner, attended))
    checker = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checker, methods)
    reflection.enable_server_reflection((*services.NAMES, health.SERVICE_NAME, reflection.SERVICE_NAME), methods)
    host = settings.listen.host
    try:
        port = server.add_insecure_port(f"{host}:{settings.listen.port}")
    except RuntimeError as exc:
        text = f"cannot listen on {host}:{settings.listen.port} (registry.listen): the address is taken or not ours"
        raise OSError(errno.EADDRINUSE, text) from exc

    serving = Serving(database, checker, ("", *services.NAMES))

    def missing() -> dict[str, str]:
        return {"database": serving.problem} if serving.problem else {}

    def degraded() -> dict[str, str]:
        return {"dimensions in the store": sync.problem} if sync.problem else {}

    gateway = Gateway(f"{host}:{port}", routes_of(services.DESCRIPTORS), forwarding)
    async with (
        contextlib.aclosing(gateway),
        Endpoint(
            settings.http, missing, degraded=degraded, routes=gateway.routes(), max_line_bytes=MAX_LINE_BYTES
        ) as endpoint,
        asyncio.TaskGroup() as tasks,
    ):
        await server.start()
        await serving.start()
        keepers = [
            tasks.create_task(_keep_gauges(database), name="gauges"),
            tasks.create_task(sync.run(), name="dimensions"),
            tasks.create_task(_purge(database, settings.audit_days), name="purge"),
            tasks.create_task(database.listen(), name="listen"),
            tasks.create_task(_keep_known(database), name="known"),
            tasks.create_task(serving.run(), name="serving"),
            tasks.create_task(runner.run(), name="operations"),
            tasks.create_task(attended.run(), name="attended"),
            tasks.create_task(_forget_lost_nodes(database), name="nodes"),
            tasks.create_task(_write_uses(authenticator), name="token_uses"),
        ]
        addresses = {"grpc": f"{host}:{port}", "metrics": f"http://{settings.http.host}:{endpoint.port}/metrics"}
        log.info("registry_listening", **addresses)
        on_listening(addresses)
        # What is there by now stays to the end. Left out, it no longer holds up calls whenever the collector looks.
        gc.freeze()
        await stop.wait()
        ending = asyncio.create_task(end_tasks(keepers), name="end")
        await checker.enter_graceful_shutdown()
        database.bell.close()  # ends the watches, which never end by themselves
        await server.stop(GRACE_S)
        await attended.leave()
        with contextlib.suppress(SQLAlchemyError):
            await authenticator.write_uses()
        await ending


async def _keep_gauges(database: Database) -> None:
    while True:
        metrics.revision.set(database.bell.revision)
        with contextlib.suppress(SQLAlchemyError):  # each request says so
            for state, count in (await database.read(db_devices.count_by_state)).items():
                metrics.devices.labels(state).set(count)
        await asyncio.sleep(GAUGE_PERIOD_S)


async def _keep_known(database: Database) -> None:
    while True:
        try:
            await database.keep_known()
        except SQLAlchemyError as exc:  # slower, and no worse
            log.warning("vacuum_failed", error=str(exc).strip()[:300])


async def _purge(database: Database, audit_days: int) -> None:
    """Remove what was deleted long enough ago, some at a time, so that no write waits long."""
    origin = Origin("internal", "purge")
    while True:
        try:
            while await database.write(recorded, origin, lifecycle.purge_due):
                await asyncio.sleep(0)
            while await database.write(recorded, origin, sites.purge_due):
                await asyncio.sleep(0)
            while await database.write(request_ids.forget_before, sequence.now_ms() - KEPT_MS):
                await asyncio.sleep(0)
            while audit_days and await database.write(remove_old, audit_days):
                await asyncio.sleep(0)
        except SQLAlchemyError as exc:
            log.warning("purge_failed", error=str(exc).strip()[:300])
        await asyncio.sleep(PURGE_PERIOD_S)


async def _write_uses(authenticator: Authenticator) -> None:
    """When each token was last used: at most one write a minute for each, however many calls it makes."""
    while True:
        await asyncio.sleep(USES_PERIOD_S)
        with contextlib.suppress(SQLAlchemyError):
            await authenticator.write_uses()


async def _forget_lost_nodes(database: Database) -> None:
    """End the connections of ingest processes that are gone and do not come back."""
    while True:
        await asyncio.sleep(NODES_PERIOD_S)
        with contextlib.suppress(SQLAlchemyError):
            if await database.read(has_lost_nodes):
                for node in await database.write(forget_lost_nodes):
                    log.warning("ingest_node_lost", node=node)
