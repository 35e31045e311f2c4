"""The HTTP endpoint of every role: /healthz (it lives), /readyz (it can do its job), /metrics (Prometheus)."""

from collections.abc import Callable, Iterable
from types import TracebackType

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from runtime.settings import ListenSettings

# Names of what is not ready yet, each with the reason; empty when all is well.
Readiness = Callable[[], dict[str, str]]


class Endpoint:
    """`async with Endpoint(settings.http, readiness) as endpoint: ... endpoint.port`."""

    def __init__(
        self,
        listen: ListenSettings,
        readiness: Readiness,
        registry: CollectorRegistry = REGISTRY,
        degraded: Readiness = dict,
        routes: Iterable[web.AbstractRouteDef] = (),
        max_line_bytes: int = 8190,
    ) -> None:
        """Args:
        degraded: as `readiness`, for what is wrong but does not keep the role from its job.
        routes: what else is answered at this address.
        max_line_bytes: of a request's first line, which has the path and all parameters.
        """
        self._listen = listen
        self._readiness = readiness
        self._degraded = degraded
        self._registry = registry
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_routes(routes)
        self._runner = web.AppRunner(app, access_log=None, max_line_size=max_line_bytes)
        self.port = listen.port

    async def __aenter__(self) -> "Endpoint":
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._listen.host, self._listen.port)
        try:
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = self._readiness()
        text = "".join(f"{name}: {reason}\n" for name, reason in missing.items()) or "ok\n"
        text += "".join(f"degraded: {name}: {reason}\n" for name, reason in self._degraded().items())
        return web.Response(text=text, status=503 if missing else 200)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
