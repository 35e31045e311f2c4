"""A stream as an operation: begun before its first answer, ended with its call, however that ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from sqlalchemy.exc import SQLAlchemyError

from registry.api.call import Call
from registry.api.status import abort, error_named
from registry.errors import AbortedError, RegistryError
from registry.operations import rules
from registry.operations.attended import Attended, AttendedOperations
from registry.operations.model import Ending
from registry.operations.runner import ending_of

TOLD_S = 1.0
log = structlog.get_logger()


@asynccontextmanager
async def attended(
    operations: AttendedOperations,
    call: Call,
    prefix: str,
    total: int,
    told: dict[str, object] | None,
    *,
    is_read: bool,
) -> AsyncIterator[Attended]:
    """Args:
    total: things to do; 0: nobody knows.
    told: of the beginning, for the audit; None: nothing.
    is_read: it changes nothing: it goes on unseen if the database takes no writes.
    """
    given = (operations.worker, prefix, call.method, call.caller.actor, total, told)
    try:
        begun = await call.write(rules.begin_attended, *given)
    except SQLAlchemyError as exc:
        if not is_read:
            raise
        log.warning("operation_unseen", method=call.method, error=str(exc).strip()[:300])
        yield operations.unknown(call.method)
        return
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    endings: set[asyncio.Task[None]] = set()

    def begin_ending(work: Coroutine[Any, Any, None]) -> None:
        ending = loop.create_task(work)
        endings.add(ending)
        ending.add_done_callback(endings.discard)

    def cut(why: RegistryError) -> None:
        begin_ending(_cut(call.context, why, task))

    def left(_: asyncio.Task[Any]) -> None:
        """The call is over: if nobody has said why, its client or this registry left."""
        if not one.is_settled:
            begin_ending(operations.settle(one, _ending(one, call)))

    one = operations.add(begun, cut)
    # A generator that waits for its client to read on never hears of the end.
    task.add_done_callback(left)
    try:
        yield one
    except Exception as exc:
        await operations.settle(one, ending_of(exc))
        raise
    await operations.settle(one, None)


async def _cut(context: Any, why: RegistryError, task: asyncio.Task[Any]) -> None:
    """End a call from outside: its own task waits for a client that does not read."""
    if not task.done():
        # It waits, too, until the client has read what is before; and raises when it is done, or the call is over.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(TOLD_S):
                await abort(context, why)
        task.cancel()


def _ending(one: Attended, call: Call) -> Ending:
    try:
        one.check()
    except RegistryError as exc:
        return ending_of(exc)
    if call.bell.is_closed:
        return Ending(AbortedError.__name__, "REGISTRY_STOPPED", one.after("the registry was stopped"))
    number = call.context.code() or 0
    code = next((code for code in grpc.StatusCode if number in (code, code.value[0])), grpc.StatusCode.UNKNOWN)
    if code in (grpc.StatusCode.OK, grpc.StatusCode.CANCELLED):
        return Ending(AbortedError.__name__, "CLIENT_GONE", one.after("its client went away"))
    said = call.context.details() or ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return Ending(error_named(code), code.name, one.after(f"{text}:"))
