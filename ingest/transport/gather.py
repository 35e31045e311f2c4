"""Gathering: frames of one transport wait a few milliseconds for company, then go down the pipeline as one chunk."""

import asyncio
from collections.abc import Callable

from ext.telemetry.frames import FrameChunk

MAX_CHUNK_BYTES = 1 << 20


class Gatherer:
    """For transports outside the hot path. `ready` is called with each full or ripe chunk."""

    def __init__(
        self,
        transport: str,
        gather_ms: float,
        on_durable: Callable[[FrameChunk], None],
        ready: Callable[[FrameChunk], None],
    ) -> None:
        self._transport = transport
        self._delay_s = gather_ms / 1000
        self._on_durable = on_durable
        self._ready = ready
        self._chunk: FrameChunk | None = None
        self._timer: asyncio.TimerHandle | None = None

    def chunk(self) -> FrameChunk:
        """The chunk to add frames to; call `added` afterwards."""
        if self._chunk is None:
            self._chunk = FrameChunk(self._transport, self._on_durable)
            self._timer = asyncio.get_running_loop().call_later(self._delay_s, self.flush)
        return self._chunk

    def added(self) -> None:
        if self._chunk is not None and self._chunk.size_bytes >= MAX_CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand the current chunk on, if it has frames."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        chunk, self._chunk = self._chunk, None
        if chunk is not None and len(chunk):
            self._ready(chunk)
