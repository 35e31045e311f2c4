"""The batch stage: chunks in, one sealed batch per commit window out. The window is as long as the disk is busy."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from ext.telemetry.frames import FrameChunk
from ingest.model import TRANSPORTS, SealedBatch
from runtime.pipe import Pipe

_NUMBERS = {name: number for number, name in enumerate(TRANSPORTS)}


class SealedMemory:
    """What sealed batches hold in memory until they are durable."""

    def __init__(self) -> None:
        self.held_bytes = 0

    def seal(self, columns: "Columns", on_durable: Callable[[], None]) -> SealedBatch:
        size_bytes = 0

        def settle() -> None:
            self.held_bytes -= size_bytes
            on_durable()

        batch = columns.seal(settle)
        size_bytes = batch.size_bytes
        self.held_bytes += size_bytes
        return batch


class Columns(Protocol):
    """What grows while a window is open."""

    @property
    def rows(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...

    def seal(self, on_durable: Callable[[], None]) -> SealedBatch:
        """Close the window: its blocks, and empty columns again."""


async def batch_stage(
    chunks: Pipe[FrameChunk],
    sealed: Pipe[SealedBatch],
    convert: Callable[[FrameChunk], None],
    columns: Columns,
    max_rows: int,
    max_bytes: int,
    on_durable: Callable[[list[FrameChunk]], None],
    memory: SealedMemory,
) -> None:
    """Run until `chunks` is closed and empty, then close `sealed`.

    Args:
        max_bytes: of `columns`, beyond which a window takes no more chunks.
        convert: decodes and resolves a chunk into `columns`.
        on_durable: called with the chunks of a window once the spool has them.
        memory: told of sealed batches.
    """
    while (chunk := await chunks.get()) is not None:
        window = [chunk]
        convert(chunk)
        await sealed.wait_writable()
        while (
            columns.rows < max_rows and columns.size_bytes < max_bytes and (another := chunks.get_nowait()) is not None
        ):
            window.append(another)
            convert(another)
        batch = memory.seal(columns, partial(on_durable, window))
        await sealed.put(msgspec.structs.replace(batch, frames=_frames(window), received_ms=_received_ms(window)))
    sealed.close()


def _frames(window: list[FrameChunk]) -> tuple[int, ...]:
    """How many of each of TRANSPORTS."""
    frames = [0] * len(TRANSPORTS)
    for chunk in window:
        frames[_NUMBERS.get(chunk.transport, -1)] += len(chunk)
    return tuple(frames)


def _received_ms(window: list[FrameChunk]) -> tuple[int, int]:
    spans = [chunk.received_ms for chunk in window]
    return min(span[0] for span in spans), max(span[1] for span in spans)
