"""The batch stage: chunks in, one sealed batch per commit window out. The window is as long as the disk is busy."""

from collections.abc import Callable
from typing import Protocol

from ext.telemetry.frames import FrameChunk
from ingest.model import SealedBatch
from runtime.pipe import Pipe


class Columns(Protocol):
    """What grows while a window is open."""

    @property
    def rows(self) -> int: ...

    def seal(self, on_durable: Callable[[], None]) -> SealedBatch:
        """Close the window: its blocks, and empty columns again."""


async def batch_stage(
    chunks: Pipe[FrameChunk],
    sealed: Pipe[SealedBatch],
    convert: Callable[[FrameChunk], None],
    columns: Columns,
    max_rows: int,
    on_durable: Callable[[list[FrameChunk]], None],
) -> None:
    """Run until `chunks` is closed and empty, then close `sealed`.

    Args:
        convert: decodes and resolves a chunk into `columns`.
        on_durable: called with the chunks of a window once the spool has them.
    """
    while (chunk := await chunks.get()) is not None:
        window = [chunk]
        convert(chunk)
        await sealed.wait_writable()
        while columns.rows < max_rows and (another := chunks.get_nowait()) is not None:
            window.append(another)
            convert(another)
        await sealed.put(columns.seal(lambda window=window: on_durable(window)))  # type: ignore[misc]
    sealed.close()
