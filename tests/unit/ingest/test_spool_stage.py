"""The spool stage: what is acknowledged waits for all that came with it."""

import asyncio
from concurrent.futures import Executor
from pathlib import Path

from ingest.metrics import SpoolState
from ingest.model import SealedBatch, Segment
from ingest.settings import SpoolSettings
from ingest.spool import stage as module
from ingest.spool.spool import Spool
from ingest.spool.stage import spool_stage
from runtime.pipe import Pipe


async def test_an_acknowledgement_waits_for_what_is_kept_beside_the_spool(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_RETRY_S", 0.0)
    sealed: Pipe[SealedBatch] = Pipe(1)
    closed: Pipe[Segment] = Pipe(10)
    said: list[str] = []
    state = SpoolState()

    async def keep(disk: Executor) -> None:
        await asyncio.get_running_loop().run_in_executor(disk, said.append, "keep")
        if said.count("keep") < 3:
            raise OSError("no room")

    spool = Spool(tmp_path, SpoolSettings(min_free_bytes=0))
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(spool_stage(sealed, closed, spool, state, keep=keep))
        rows = (1, 0, 0)
        await sealed.put(SealedBatch((b"r", b"", b""), rows, rows, lambda: said.append("acknowledged")))
        sealed.close()
    segment = await closed.get()
    assert said == ["keep", "keep", "keep", "acknowledged"]
    assert segment is not None
    assert segment.readings == (1, 0, 0)  # appended once
    assert (state.append_failures, state.records) == (2, 1)
