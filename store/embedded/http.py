"""ClickHouse's HTTP interface over the embedded engine."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog
from aiohttp import web

from store import metrics
from store.embedded import accounts, errors, ward
from store.embedded.accounts import Account, Accounts
from store.embedded.answer import BUFFER_BYTES, Envelope, Outcome, Pipe, StreamedAnswer
from store.embedded.engine import Engine, Session, Upload
from store.embedded.known import Known
from store.embedded.quota import Quotas
from store.embedded.request import STATEMENT_BYTES_MAX, Body, Call, read_call
from store.embedded.slots import Slots
from store.embedded.statement import Statement, parse, tokens
from store.settings import EmbeddedSettings

log = structlog.get_logger()
_APPEND_BYTES = 1 << 20
_APPEND_PARTS = 1000
_OFF_LOOP_BYTES = 64 << 10
_SERVER = "cityfleet"


class Interface:
    """The request handlers. `closing` makes new queries be refused; `drain` waits for those that run."""

    def __init__(
        self,
        engine: Engine,
        known: Accounts,
        sight: ward.Sight,
        slots: Slots,
        quotas: Quotas,
        settings: EmbeddedSettings,
    ) -> None:
        self._engine = engine
        self._sight = sight
        self._quotas = quotas
        self._accounts = known
        self._slots = slots
        self._settings = settings
        self._known = Known()
        self._running: dict[str, str] = {}  # query id -> user
        self._cleanups: set[asyncio.Task[None]] = set()
        self.closing = False

    def application(self) -> web.Application:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._replicas_status)
        app.router.add_get("/", self._query)
        app.router.add_post("/", self._query)
        return app

    async def drain(self, deadline_s: float) -> None:
        """Wait for running queries; those that outlast the deadline are killed."""
        end = time.monotonic() + deadline_s
        while (self._running or self._cleanups) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for tag in list(self._running):
            await self._engine.kill(tag)
        while self._running or self._cleanups:
            await asyncio.sleep(0.02)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _replicas_status(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        envelope = Envelope("", _SERVER, self._engine.version, "", 3, started)
        role, kind, outcome = "none", "other", "ok"
        try:
            call = await read_call(request)
            envelope = Envelope(
                call.query_id, _SERVER, self._engine.version, call.answer_encoding, call.zlib_level, started
            )
            if call.is_get and not call.query:
                return web.Response(text="Ok.\n")
            account = self._accounts.authenticate(call.user, call.password)
            role = account.role
            self._quotas.begin(account)
            body = Body(request, self._settings.max_body_bytes, self._settings.receive_timeout_s)
            statement, head_done = await self._statement(call, body)
            kind = "insert" if statement.verb == "INSERT" else "select" if statement.is_query else "other"
            async with self._slots.of(account):
                with self._register(call, account), self._spending(account):
                    if statement.takes_data:
                        return await self._insert(call, account, statement, body, envelope)
                    if not head_done:
                        raise errors.refused(62, "Max query size exceeded", "SYNTAX_ERROR")
                    return await self._select(request, call, account, statement, envelope)
        except errors.StoreError as error:
            outcome = "refused" if error.status in (401, 403, 503) or error.code == errors.READONLY else "failed"
            return envelope.failure(error)
        except (asyncio.CancelledError, ConnectionError, TimeoutError, aiohttp.ClientPayloadError) as gone:
            # The client left, or takes no data any more.
            outcome = "cancelled"
            metrics.cancelled.labels(role).inc()
            if isinstance(gone, asyncio.CancelledError):
                raise
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=499)
        finally:
            metrics.queries.labels(role, outcome).inc()
            metrics.query_seconds.labels(role, kind).observe(time.monotonic() - started)

    async def _statement(self, call: Call, body: Body) -> tuple[Statement, bool]:
        """Find the statement in query parameter and body; what follows it stays in the body."""
        prefix = call.query.encode("utf-8", errors="surrogateescape")
        found = parse(prefix) if prefix else None
        if found is not None and found.takes_data and found.data_at == len(prefix):
            return found, True  # all of the body is data
        head, ended = await body.read_head(STATEMENT_BYTES_MAX)
        text = prefix + b"\n" + head if prefix and head else prefix + head
        if not text.strip():
            raise errors.refused(62, "Syntax error: empty query", "SYNTAX_ERROR")
        # A long one would hold up the loop.
        found = await asyncio.to_thread(parse, text) if len(text) > _OFF_LOOP_BYTES else parse(text)
        if found.takes_data:
            body.push_back(text[found.data_at :])
        elif found.verb == "INSERT" and prefix and head and parse(prefix).sql and not _has_select(prefix):
            body.push_back(head)  # INSERT without FORMAT: the data is in the default format
            sql = parse(prefix).sql
            found = Statement("INSERT", sql, sql, call.default_format or "Values", "", 0, len(sql))
        return found, ended

    def _register(self, call: Call, account: Account) -> contextlib.AbstractContextManager[None]:
        if self.closing:
            raise errors.EngineClosedError
        if call.query_id in self._running:
            raise errors.refused(
                216, f"Query with id = {call.query_id} is already running", "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING"
            )
        return self._registered(call.query_id, account)

    @contextlib.contextmanager
    def _registered(self, query_id: str, account: Account) -> Any:
        self._running[query_id] = account.user
        metrics.running.labels(account.role).inc()
        try:
            yield
        finally:
            metrics.running.labels(account.role).dec()
            del self._running[query_id]

    @contextlib.contextmanager
    def _spending(self, account: Account) -> Any:
        started = time.monotonic()
        try:
            yield
        finally:
            self._quotas.spend(account, time.monotonic() - started)

    def _open(self, call: Call, account: Account, statement: Statement) -> Session:
        """A session of this account that may run this statement. Blocks."""
        session = self._engine.session()
        try:
            canonical = accounts.Canonical(session)
            accounts.check(session, account, statement, canonical, self._known)
            database = call.database
            if account.role == "ward":
                database = ward.DATABASE if database in ("", "default") else database
                ward.check(session, self._sight, statement, canonical, database, call.params)
            if database:
                session.use(database)
            accounts.prepare(session, account, self._sight, statement, call.settings, call.query_id, call.is_get)
        except BaseException:
            session.close()
            raise
        return session

    async def _select(
        self, request: web.Request, call: Call, account: Account, statement: Statement, envelope: Envelope
    ) -> web.StreamResponse:
        output_format = statement.format or call.default_format or "TabSeparated"
        pipe = Pipe() if statement.is_query else None
        job = asyncio.ensure_future(self._engine.run(self._run_query, call, account, statement, output_format, pipe))
        try:
            return await self._answer(request, call, envelope, output_format, pipe, job)
        finally:
            if not job.done():
                # The client left: the slot stays taken until the engine has let go.
                cleanup = asyncio.ensure_future(self._stop(call.query_id, job, pipe))
                self._cleanups.add(cleanup)
                cleanup.add_done_callback(self._cleanups.discard)
                while not cleanup.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.shield(cleanup)
            elif pipe is not None:
                pipe.close_reader()

    def _run_query(
        self, call: Call, account: Account, statement: Statement, output_format: str, pipe: Pipe | None
    ) -> tuple[Outcome, bytes]:
        """Blocks; with a pipe the rows go there."""
        try:
            session = self._open(call, account, statement)
            try:
                sql = statement.sql
                if pipe is not None:
                    sql = f"{sql}\nINTO OUTFILE '{pipe.path}' APPEND FORMAT {output_format} {statement.tail}"
                elif statement.format:
                    sql = f"{sql}\nFORMAT {output_format} {statement.tail}"
                result = session.query(sql, output_format, call.params)
                outcome = Outcome.of(result)
                metrics.rows_read.labels(account.role).inc(outcome.read_rows)
                if account.role == "ward":  # rows that were read and not shown are nobody's business
                    outcome.read_rows, outcome.read_bytes = outcome.result_rows, outcome.result_bytes
                return outcome, result.bytes()
            finally:
                session.close()
        finally:
            if pipe is not None:
                pipe.close_writer()

    async def _answer(
        self,
        request: web.Request,
        call: Call,
        envelope: Envelope,
        output_format: str,
        pipe: Pipe | None,
        job: "asyncio.Future[tuple[Outcome, bytes]]",
    ) -> web.StreamResponse:
        parts: list[bytes] = []
        total = 0
        limit = self._settings.buffered_answer_bytes if call.waits_for_end else BUFFER_BYTES
        while pipe is not None and total < limit:
            data = await pipe.read(BUFFER_BYTES)
            if not data:
                break
            parts.append(data)
            total += len(data)
        else:
            if pipe is not None:
                return await self._stream(request, envelope, output_format, pipe, job, parts)
        outcome, rest = await asyncio.shield(job)
        self._count(outcome)
        return envelope.whole(b"".join(parts) + rest, output_format, outcome)

    async def _stream(
        self,
        request: web.Request,
        envelope: Envelope,
        output_format: str,
        pipe: Pipe,
        job: "asyncio.Future[tuple[Outcome, bytes]]",
        parts: list[bytes],
    ) -> web.StreamResponse:
        answer = StreamedAnswer(request, envelope, output_format, self._settings.send_timeout_s)
        await answer.begin()
        for part in parts:
            await answer.write(part)
        parts.clear()
        while data := await pipe.read(BUFFER_BYTES):
            await answer.write(data)
        try:
            outcome, _ = await asyncio.shield(job)
        except errors.StoreError as error:
            await answer.fail(error)
            return answer.response
        self._count(outcome)
        await answer.end()
        return answer.response

    async def _stop(self, tag: str, job: "asyncio.Future[Any]", pipe: Pipe | None) -> None:
        """Kill the query, then close its pipe (the other way round it would run on, writing into nothing)."""
        while not job.done():
            try:
                await self._engine.kill(tag)
            except errors.StoreError as error:
                log.warning("kill_failed", reason=str(error))
            if pipe is not None:
                pipe.close_reader()
            await asyncio.wait([job], timeout=0.2)
        if pipe is not None:
            pipe.close_reader()
        failed = None if job.cancelled() else job.exception()
        if failed is not None and not isinstance(failed, errors.StoreError):
            log.warning("cancelled_query_failed", error=repr(failed))

    async def _insert(
        self, call: Call, account: Account, statement: Statement, body: Body, envelope: Envelope
    ) -> web.Response:
        if call.is_get:
            raise errors.refused(errors.READONLY, "Cannot execute query in readonly mode", "READONLY")
        run = self._engine.run
        session = await self._finish(run(self._open, call, account, statement), Session.close)
        upload = Upload(self._engine.uploads)
        try:
            await self._feed(upload, body)
            head, settings = statement.sql[: statement.settings_at], statement.sql[statement.settings_at :]
            rest = f"{settings} FORMAT {statement.format}"
            result = await self._finish(run(session.insert, head, upload, rest, call.params))
        finally:
            upload.close()
            await self._finish(run(session.close))
        outcome = Outcome.of(result)
        # The engine counts no reading for data that came with the request; servers count each row as read.
        outcome.read_rows = outcome.result_rows = outcome.written_rows
        outcome.read_bytes = outcome.result_bytes = outcome.written_bytes
        self._count(outcome)
        metrics.rows_read.labels(account.role).inc(outcome.read_rows)
        return envelope.whole(b"", call.default_format or "TabSeparated", outcome)

    async def _feed(self, upload: Upload, body: Body) -> None:
        """Carry the body to the engine, about a megabyte at a time; the socket waits meanwhile."""
        parts: list[bytes] = []
        total = 0
        while data := await body.read():
            parts.append(data)
            total += len(data)
            if total >= _APPEND_BYTES or len(parts) == _APPEND_PARTS:
                await self._finish(self._engine.run(upload.append, parts))
                parts.clear()
                total = 0
        if parts:
            await self._finish(self._engine.run(upload.append, parts))

    async def _finish(self, call: Any, undo: Callable[[Any], None] | None = None) -> Any:
        """Wait for an engine call even if the client leaves meanwhile: a session is never left in a running thread."""
        job = asyncio.ensure_future(call)
        cancelled = False
        while not job.done():
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                cancelled = True
            except errors.StoreError:
                break
        if cancelled:
            if undo is not None and job.exception() is None:
                await asyncio.shield(self._engine.run(undo, job.result()))
            raise asyncio.CancelledError
        return job.result()

    def _count(self, outcome: Outcome) -> None:
        metrics.rows_inserted.inc(outcome.written_rows)
        metrics.bytes_inserted.inc(outcome.written_bytes)


def _has_select(text: bytes) -> bool:
    return any(token.upper in (b"SELECT", b"WITH") for token in tokens(text) if token.kind == "word")
