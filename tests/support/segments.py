"""Closed segments of a real spool, and the real write stage before a store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from ingest.metrics import WriteState
from ingest.model import SealedBatch, Segment
from ingest.settings import SpoolSettings, WriteSettings
from ingest.spool.bodies import SegmentReader
from ingest.spool.spool import Spool
from ingest.write.clickhouse import ClickHouseStore
from ingest.write.stage import WriteStage
from runtime.pipe import Pipe
from store.client import open_client
from store.settings import StoreSettings
from tests.support import native_blocks
from tests.support.native_blocks import Reading, Refused, Text
from tests.support.store import StoreHandle

QUICK = WriteSettings(retry_first_s=0.01, retry_longest_s=0.1, answer_timeout_s=10.0, parts_check_s=0.05)


class Node:
    """A spool folder and who writes it to a store; `url` may be a proxy's."""

    def __init__(self, folder: Path, store: StoreHandle, url: str = "", settings: WriteSettings = QUICK) -> None:
        self.spool = Spool(folder / "spool", SpoolSettings())
        self.state = WriteState()
        self._store = store
        self._url = url
        self._settings = settings

    def segment(
        self,
        readings: Sequence[Reading] = (),
        texts: Sequence[Text] = (),
        quarantine: Sequence[Refused] = (),
    ) -> Segment:
        """A closed segment of one record."""
        self.append(readings, texts, quarantine)
        return self.spool.close_segment()

    def append(
        self, readings: Sequence[Reading] = (), texts: Sequence[Text] = (), quarantine: Sequence[Refused] = ()
    ) -> None:
        blocks = (native_blocks.readings(readings), native_blocks.quarantine(quarantine), native_blocks.texts(texts))
        stands_for = (len(readings), sum(row.readings for row in quarantine), len(texts))
        self.spool.append(
            SealedBatch(blocks, (len(readings), len(quarantine), len(texts)), stands_for, on_durable=lambda: None)
        )

    @contextlib.asynccontextmanager
    async def writing(
        self, segments: Sequence[Segment], *, recovered: bool = False
    ) -> AsyncIterator[tuple[WriteStage, "asyncio.Task[None]", Pipe[Segment]]]:
        """The stage at work on these; more may be put into the pipe, which is the caller's to close."""
        url = self._url or self._store.url
        client = ClickHouseStore(
            lambda: open_client(StoreSettings(url=url), self._store.data_dir, "writer"), self._settings.answer_timeout_s
        )
        stage = WriteStage(client, SegmentReader().read, self.state, self._settings)
        pipe: Pipe[Segment] = Pipe(1000)
        for segment in segments:
            pipe.put_nowait(segment)
        if recovered:
            stage.expect(segments)
        task = asyncio.create_task(stage.run(pipe))
        try:
            yield stage, task, pipe
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()

    async def write(self, segments: Sequence[Segment], *, recovered: bool = False) -> WriteStage:
        """All of them, to the end."""
        async with self.writing(segments, recovered=recovered) as (stage, task, pipe):
            pipe.close()
            async with asyncio.timeout(60):
                await task
        return stage


async def until(is_so: Callable[[], bool], task: "asyncio.Task[None] | None" = None) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            if task is not None and task.done():
                task.result()
                raise AssertionError("the stage ended before")
            await asyncio.sleep(0.005)
