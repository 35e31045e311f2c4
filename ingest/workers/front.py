"""/healthz, /readyz and /metrics of all workers together."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ingest.workers.exposition import merge
from runtime.settings import ListenSettings

_TIMEOUT_S = 5.0


class Front:
    """`async with Front(settings.http, workers, restarts) as front: ... front.port`.

    Args:
        workers: address of the metrics of each worker by its number; None while it is away.
        restarts: how often each worker was started again.
    """

    def __init__(
        self, listen: ListenSettings, workers: Callable[[], dict[int, str | None]], restarts: dict[int, int]
    ) -> None:
        self._listen = listen
        self._workers = workers
        self._restarts = restarts
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        self.port = listen.port

    async def __aenter__(self) -> "Front":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._listen.host, self._listen.port).start()
        except BaseException:
            await self._close()
            raise
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _ask(self, path: str) -> dict[int, tuple[int, str] | None]:
        """Status and text of every worker; None where there is no answer."""

        async def one(address: str | None) -> tuple[int, str] | None:
            if address is None:
                return None
            try:
                async with self._session.get(urlunsplit(urlsplit(address)._replace(path=path))) as answer:
                    return answer.status, await answer.text()
            except (aiohttp.ClientError, TimeoutError):
                return None

        workers = self._workers()
        answers = await asyncio.gather(*map(one, workers.values()))
        return dict(zip(workers, answers, strict=True))

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        """Ready while one worker is: the kernel gives new connections to those that listen."""
        answers = await self._ask("/readyz")
        lines: list[str] = []
        for number, answer in answers.items():
            text = "away" if answer is None else answer[1]
            lines += [f"worker {number}: {line}\n" for line in text.splitlines() if line != "ok"]
        is_ready = any(answer is not None and answer[0] == 200 for answer in answers.values())
        if is_ready:
            lines = [f"degraded: {line}" for line in lines]
        return web.Response(text="".join(lines) or "ok\n", status=200 if is_ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        answers = await self._ask("/metrics")
        pages = {str(number): answer[1] for number, answer in answers.items() if answer is not None}
        own = [
            "# HELP cityfleet_ingest_worker_up Whether the worker answers.",
            "# TYPE cityfleet_ingest_worker_up gauge",
            *(
                f'cityfleet_ingest_worker_up{{worker="{number}"}} {int(answer is not None)}'
                for number, answer in answers.items()
            ),
            "# HELP cityfleet_ingest_worker_restarts_total Times the worker was started again.",
            "# TYPE cityfleet_ingest_worker_restarts_total counter",
            *(
                f'cityfleet_ingest_worker_restarts_total{{worker="{number}"}} {count}'
                for number, count in self._restarts.items()
            ),
        ]
        text = merge(pages) + "\n".join(own) + "\n"
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE_LATEST})
