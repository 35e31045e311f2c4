"""gRPC channels on which each call says who is calling: `authorization: Bearer <token>`."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc

KEY = "authorization"


def bearer_channel(address: str, token: str, options: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
    """A synchronous channel to HOST:PORT; the caller closes it (`with`).

    A call that brings an authorization of its own keeps it. An empty `token` is not sent.
    """
    channel = grpc.insecure_channel(address, options=list(options))
    return grpc.intercept_channel(channel, _Bearer(token)) if token else channel


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    def __init__(self, token: str) -> None:
        self._entry = (KEY, f"Bearer {token}")

    def _with_token(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = tuple(details.metadata or ())
        if all(key != KEY for key, _ in metadata):
            metadata += (self._entry,)
        return continuation(_Details(details, metadata), request)

    intercept_unary_unary = _with_token
    intercept_unary_stream = _with_token
    intercept_stream_unary = _with_token
    intercept_stream_stream = _with_token


class _Details(grpc.ClientCallDetails):  # type: ignore[misc]
    def __init__(self, given: Any, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self.method = given.method
        self.timeout = given.timeout
        self.credentials = given.credentials
        self.wait_for_ready = given.wait_for_ready
        self.compression = given.compression
        self.metadata = metadata
