"""Whether the registry can use its database, told by gRPC health and /readyz, so that a balancer goes elsewhere."""

import asyncio
from collections.abc import Sequence

import structlog
from grpc_health.v1 import health, health_pb2
from sqlalchemy.exc import SQLAlchemyError

from registry.db import sequence
from registry.db.engine import Database

CHECK_S = 2.0
# A server that answers nothing at all is away too.
ANSWER_S = 5.0
_Status = health_pb2.HealthCheckResponse
log = structlog.get_logger()


class Serving:
    """`problem`: why no call can be answered now; empty: all is well."""

    def __init__(self, database: Database, checker: health.aio.HealthServicer, services: Sequence[str]) -> None:
        """Args: services: names that are asked about; an empty one stands for the whole."""
        self._database = database
        self._checker = checker
        self._services = services
        self.problem = ""

    async def run(self) -> None:
        """Ask the database again and again, until cancelled."""
        asked: asyncio.Future[sequence.Head] | None = None
        while True:
            # One question at a time: those that hang would take all readers.
            asked = asked or asyncio.ensure_future(self._database.read(sequence.head))
            done, _ = await asyncio.wait([asked], timeout=ANSWER_S)
            if done:
                exc = asked.exception()
                if exc is not None and not isinstance(exc, SQLAlchemyError):
                    raise exc
                await self._tell((str(exc).strip().splitlines() or [""])[0][:300] if exc else "")
                asked = None
            else:
                await self._tell("the database does not answer")
            await asyncio.sleep(CHECK_S)

    async def start(self) -> None:
        for name in self._services:
            await self._checker.set(name, _Status.SERVING)

    async def _tell(self, problem: str) -> None:
        if bool(problem) != bool(self.problem):
            if problem:
                log.warning("database_away", reason=problem)
            else:
                log.info("database_back")
            for name in self._services:
                await self._checker.set(name, _Status.NOT_SERVING if problem else _Status.SERVING)
        self.problem = problem
