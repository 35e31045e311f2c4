"""A stream may live for months, a call may wait for minutes; what its caller may do is asked again meanwhile."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from registry.access.authenticate import Authenticator
from registry.errors import StoppingError, UnauthenticatedError

if TYPE_CHECKING:
    from registry.api.call import Call

# How long a call may outlive the right to it.
RECHECK_S = 5.0


class Rights:
    """`async with Rights(...)`: the work of one call, ended when its caller is no longer who he was."""

    def __init__(self, authenticator: Authenticator, call: "Call", recheck_s: float) -> None:
        self._authenticator = authenticator
        self._call = call
        self._recheck_s = recheck_s
        self._end = asyncio.timeout(None)
        self._lost: Exception | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        # Few calls live that long: a task for each would cost more than all the rest of it.
        self._timer = asyncio.get_running_loop().call_later(self._recheck_s, self._begin)
        await self._end.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises: UnauthenticatedError, StoppingError."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        try:
            await self._end.__aexit__(kind, exc, trace)
        except TimeoutError:
            if self._lost is None:
                raise
            raise self._lost from None

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch(), name="rights")

    async def _watch(self) -> None:
        # What is committed is not answered as if it was refused.
        while (lost := await self._ask()) is None or self._call.is_changing:
            await asyncio.sleep(self._recheck_s)
        self._lost = lost
        # Cancels what the call waits for, and nothing else of the task.
        self._end.reschedule(0.0)

    async def _ask(self) -> Exception | None:
        """What has become of the right; None: it is as it was, or nobody can say now."""
        try:
            metadata = self._call.context.invocation_metadata() or ()
            if await self._authenticator.caller(metadata) != self._call.caller:
                return StoppingError("your roles have changed; call again", reason="ROLES_CHANGED")
        except UnauthenticatedError as exc:
            return exc
        except SQLAlchemyError:  # no reason to end what is running
            pass
        return None
