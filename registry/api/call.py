"""The frame of every method: who is calling, may he, was this asked before, what did it change, how did it end.

A servicer's method takes a `Call` where gRPC gives a context:

    @called
    async def UpdateSite(self, request: pb.UpdateSiteRequest, call: Call) -> pb.Site:
        return await call.change(message, sites.update_site, spec_of(request), ...)

`call.read` and `call.change` run rules in one transaction each; there is no other way to the database, so nothing is
read or changed that was not checked. What rules raise becomes a status here; they don't catch. `validate_only` is done
here too: the rules run as ever, and their transaction is rolled back.
"""

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypeVar, cast

import grpc
from google.protobuf.message import Message
from sqlalchemy import Connection

from registry import metrics
from registry.access.authenticate import Authenticator
from registry.access.caller import Caller, Scope, acting_within
from registry.access.rules import admitted, rule_of
from registry.access.within import check_named
from registry.api.peer import Forwarding
from registry.api.readable import readable, tolerant
from registry.api.refusals import Refusals
from registry.api.replay import Replay, without_tokens
from registry.api.rights import RECHECK_S, Rights
from registry.api.status import abort, code_of
from registry.audit.event import Origin
from registry.audit.log import recorded
from registry.db.engine import Database
from registry.errors import UnknownMethodError

P = ParamSpec("P")
R = TypeVar("R")
Self = TypeVar("Self")
Request = TypeVar("Request")
Answer = TypeVar("Answer", bound=Message)

# Health and reflection tell nothing that is not public.
OPEN = ("/grpc.health.", "/grpc.reflection.")


class Call:
    """One call of one method.

    Attributes:
        caller: who.
        role: that he needs for this request, and has.
        method: `cityfleet.registry.v1.SiteService/GetSite`.
        request: what he asks; None: a stream.
        scope: which devices and sites he may see or touch with this method; for lists, watches and exports.
        origin: the caller, the method, from where and with which request id, as the audit log has it.
        context: gRPC's own.
        is_changing: a transaction is under way that is the whole method.
    """

    def __init__(
        self, database: Database, caller: Caller, origin: Origin, context: Any, request: Message | None = None
    ) -> None:
        """Args: request: None: a stream of them. Raises: PermissionDeniedError."""
        rule = rule_of(origin.method)
        self.caller = caller
        self.origin = origin
        self.method = origin.method
        self.request = request
        self.role = rule.role_for(request)
        self.scope: Scope = admitted(caller, origin.method, rule, self.role)
        self._named = rule.named_in(request)
        self.context = context
        self.is_changing = False
        self.is_dry_run: bool = _field(request, "validate_only", False)
        self.bell = database.bell
        self._database = database

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` on one consistent view of the database."""

        def run(connection: Connection) -> R:
            with acting_within(self.scope):
                check_named(connection, self._named)
                return work(connection, *args, **kwargs)

        return await self._database.read(run)

    async def ask(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `read`, quicker, for work of one statement that does not look at the scope itself."""
        if not self.scope.is_everything:
            return await self.read(work, *args, **kwargs)
        return await self._database.ask(work, *args, **kwargs)

    async def change(
        self,
        answer: Callable[[R], Answer],
        work: Callable[Concatenate[Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answer:
        """Run `work(connection, ...)` in one transaction and make the method's answer of what it returns.

        With `validate_only` everything is rolled back; with a `request_id` that was answered before, `work` does not
        run and the answer is that one.
        """
        replay = self._replay()

        def run(connection: Connection) -> Answer:
            if replay is None:
                made = answer(work(connection, *args, **kwargs))
                return without_tokens(made) if self.is_dry_run else made
            before: Answer | None = replay.answer(connection)
            if before is not None:
                return before
            made = answer(work(connection, *args, **kwargs))
            replay.keep(connection, made)
            return made

        self.is_changing = True
        try:
            return await self._in_transaction(run, is_dry_run=self.is_dry_run)
        finally:
            self.is_changing = False

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `change`, for a part of a method, such as one chunk of many: no request id, no `validate_only`."""

        def run(connection: Connection) -> R:
            return work(connection, *args, **kwargs)

        return await self._in_transaction(run, is_dry_run=False)

    def grew(self, devices: int) -> None:
        """Note that the call has created or changed so many."""
        self._database.grew(devices)

    async def _in_transaction(self, work: Callable[[Connection], R], *, is_dry_run: bool) -> R:
        def run(connection: Connection) -> R:
            with acting_within(self.scope):
                check_named(connection, self._named)
                result = recorded(connection, self.origin, work)
                if is_dry_run:
                    raise _DryRunDone(result)
                return result

        try:
            return await self._database.write(run)
        except _DryRunDone as done:
            return cast(R, done.result)

    def _replay(self) -> Replay | None:
        """Raises: InvalidError."""
        if self.request is None or self.is_dry_run or not self.origin.request_id:
            return None
        given = dict(self.context.invocation_metadata() or ()).get("authorization", "")
        return Replay(self.origin, self.request, str(given))


class _DryRunDone(Exception, Generic[R]):
    """Rolls the transaction back and carries what it would have brought."""

    def __init__(self, result: R) -> None:
        super().__init__()
        self.result = result


def called(method: Callable[[Self, Request, Call], R]) -> Callable[[Self, Request, Any], R]:
    """A method that takes a Call, as gRPC wants it. Unary or streaming."""
    return cast(Callable[[Self, Request, Any], R], method)


@functools.cache
def _fields(kind: Any) -> frozenset[str]:
    return frozenset(kind.DESCRIPTOR.fields_by_name)


def _field(request: Message | None, name: str, absent: Any) -> Any:
    """As `getattr`, which is slow to say that a message has no such field."""
    kind: Any = type(request)
    return getattr(request, name) if request is not None and name in _fields(kind) else absent


def _unknown(method: str) -> Callable[[Any, Any], Awaitable[None]]:
    """What gRPC itself would answer has no details."""
    method = method.removeprefix("/")

    async def answer(_: Any, context: Any) -> None:
        text = f"there is no method {method}; reflection tells which there are"
        await abort(context, UnknownMethodError(text, metadata={"method": method}))

    return answer


class Frame(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Gives every method of the server, but health and reflection, a Call instead of gRPC's context."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        forwarding: Forwarding,
        recheck_s: float = RECHECK_S,
    ) -> None:
        """Args: forwarding: by which the HTTP gateway calls."""
        self._database = database
        self._authenticator = authenticator
        self._recheck_s = recheck_s
        self._refusals = Refusals(database)
        self._forwarding = forwarding

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(_unknown(details.method))
        if details.method.startswith(OPEN):
            return handler
        method, reader = details.method.removeprefix("/"), tolerant(handler.request_deserializer)
        if handler.response_streaming:
            function = handler.stream_stream or handler.unary_stream
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(self._streaming(method, function), reader, handler.response_serializer)
        function = handler.stream_unary or handler.unary_unary
        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(self._single(method, function), reader, handler.response_serializer)

    def _single(self, method: str, function: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Any], Any]:
        name = method.rpartition("/")[2]

        async def answer(request: Any, context: Any) -> Any:
            started = time.monotonic()
            code = grpc.StatusCode.OK
            message = request if isinstance(request, Message) else None
            origin: Origin | None = None
            try:
                caller, origin = await self._caller(method, message, context)
                call = Call(self._database, caller, origin, context, message)
                async with Rights(self._authenticator, call, self._recheck_s):
                    return await function(readable(request), call)
            except Exception as exc:
                code = code_of(exc)
                await self._refused(context, exc, origin, message)
            finally:
                metrics.requests.labels(name, code.name).inc()
                metrics.request_seconds.labels(name).observe(time.monotonic() - started)

        return answer

    def _streaming(
        self, method: str, function: Callable[[Any, Call], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        name = method.rpartition("/")[2]

        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            code = grpc.StatusCode.OK
            message = request if isinstance(request, Message) else None
            origin: Origin | None = None
            try:
                caller, origin = await self._caller(method, message, context)
                call = Call(self._database, caller, origin, context, message)
                async with Rights(self._authenticator, call, self._recheck_s):
                    async for response in function(readable(request), call):
                        yield response
            except Exception as exc:
                code = code_of(exc)
                await self._refused(context, exc, origin, message)
            finally:
                metrics.requests.labels(name, code.name).inc()

        return answer

    async def _caller(self, method: str, request: Message | None, context: Any) -> tuple[Caller, Origin]:
        """Raises: UnauthenticatedError."""
        caller = await self._authenticator.caller(context.invocation_metadata() or ())
        request_id = _field(request, "request_id", "").lower()
        return caller, Origin(caller.actor, method, self._forwarding.peer_of(context), request_id)

    async def _refused(self, context: Any, exc: Exception, origin: Origin | None, request: Message | None) -> NoReturn:
        """Args: origin: None: nobody knows who it was."""
        if origin is not None:
            await self._refusals.note(origin, request, exc)
        await abort(context, exc)
