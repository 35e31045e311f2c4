"""The share role: SensorThings and NGSI-LD on one address, metrics and health on another."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from runtime.endpoint import Endpoint
from share.asking import Store
from share.ngsi.routes import NgsiLd
from share.problem import problems
from share.settings import ShareSettings
from share.sta.routes import SensorThings
from store.client import store_url
from store.settings import StoreSettings

READY_PERIOD_S = 5.0


def application(settings: ShareSettings, store: Store) -> web.Application:
    app = web.Application(middlewares=[problems(_api_of, settings.deadline_s)], client_max_size=1 << 16)
    app.add_routes(SensorThings(settings, store).routes())
    app.add_routes(NgsiLd(settings, store).routes())
    return app


def _api_of(path: str) -> str:
    return "sta" if path.startswith("/sta/") else "ngsi-ld" if path.startswith("/ngsi-ld/") else "other"


async def run(
    settings: ShareSettings,
    store_settings: StoreSettings,
    data_dir: Path,
    stop: asyncio.Event,
    on_listening: Callable[[dict[str, str]], None],
) -> None:
    """Serve until `stop` is set. Raises OSError when an address is taken."""
    async with serving(settings, store_settings, data_dir) as addresses:
        on_listening(addresses)
        await stop.wait()


@contextlib.asynccontextmanager
async def serving(
    settings: ShareSettings, store_settings: StoreSettings, data_dir: Path
) -> AsyncIterator[dict[str, str]]:
    """`async with serving(...) as addresses:` with the addresses `http` and `metrics`."""
    store = Store(lambda: store_url(store_settings, data_dir), settings.queries, settings.queue_wait_s)
    missing: dict[str, str] = {}
    runner = web.AppRunner(application(settings, store), access_log=None, handler_cancellation=True)
    watch = asyncio.create_task(_watch(store, missing))
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.listen.host, settings.listen.port).start()
        port = runner.addresses[0][1]
        async with Endpoint(settings.http, lambda: missing) as endpoint:
            yield {
                "http": f"http://{settings.listen.host}:{port}",
                "metrics": f"http://{settings.http.host}:{endpoint.port}",
            }
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await runner.cleanup()
        await store.close()


async def _watch(store: Store, missing: dict[str, str]) -> None:
    while True:
        if await store.is_there():
            missing.pop("store", None)
        else:
            missing["store"] = "does not answer"
        await asyncio.sleep(READY_PERIOD_S)
