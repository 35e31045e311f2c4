"""Requests that cannot be read - bytes that are no message, text that is no UTF-8 - refused as any other bad input is.

gRPC itself answers them with UNKNOWN and a line of Python, before any code of ours runs.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from registry.errors import InvalidError, Violation


class Unreadable:
    """Stands for the request until there is somebody to refuse it."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def tolerant(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """As `read`, a deserializer, but for what it cannot read."""

    def reading(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError as exc:
            return Unreadable(str(exc))

    return reading


def readable(request: Any) -> Any:
    """The request, or each of a stream. Raises: InvalidError."""
    if isinstance(request, Unreadable):
        text = f"the request cannot be read: {request.reason}; messages are those of the API, texts are UTF-8"
        raise InvalidError([Violation("", "REQUEST_UNREADABLE", text)])
    return _each(request) if isinstance(request, AsyncIterator) else request


async def _each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield readable(request)
