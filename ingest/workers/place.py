"""Which worker of how many this process is, and what on the disk is its own."""

import asyncio
import re
from contextlib import ExitStack
from pathlib import Path

import msgspec
import structlog

from ingest.settings import IngestSettings
from runtime import runfile

log = structlog.get_logger()

# A worker that is leaving may still drain for so long what we are to take over.
_WAIT_S = 30.0
_LOOK_S = 0.1
_SPARKPLUG = "spBv1.0/"
_SPOOL = re.compile(r"spool-([1-9]\d{0,4})")


class Place(msgspec.Struct, frozen=True):
    """`number` counts from 0; a single process is worker 0 of 1, and has the folders that it always had."""

    data_dir: Path
    number: int = 0
    count: int = 1

    @property
    def is_alone(self) -> bool:
        return self.count == 1

    def path(self, name: str) -> Path:
        """A file or folder of this worker below `<data>/ingest`: `spool`, `spool-1`, `broker.json`, `broker-1.json`."""
        return self._path(name, self.number)

    def left_over_spools(self) -> list[int]:
        """Worker numbers of spools whose workers are no more; worker 0 drains them."""
        if self.number:
            return []
        found = (_SPOOL.fullmatch(path.name) for path in (self.data_dir / "ingest").glob("spool-*") if path.is_dir())
        return sorted(int(name[1]) for name in found if name and int(name[1]) >= self.count)

    def left_over_files(self, name: str) -> list[Path]:
        """Files as of `path` of workers that are no more; worker 0 takes them over."""
        if self.number:
            return []
        own = self.data_dir / "ingest" / name
        pattern = re.compile(rf"{re.escape(own.stem)}-([1-9]\d{{0,4}})")
        found = ((pattern.fullmatch(path.stem), path) for path in own.parent.glob(f"{own.stem}-*{own.suffix}"))
        return sorted(path for match, path in found if match and int(match[1]) >= self.count)

    def left_over(self, number: int) -> Path:
        return self._path("spool", number)

    def left_over_path(self, name: str, number: int) -> Path:
        """As `path`, of a worker that is no more."""
        return self._path(name, number)

    def _path(self, name: str, number: int) -> Path:
        path = self.data_dir / "ingest" / name
        return path.with_stem(f"{path.stem}-{number}") if number else path

    async def hold_spools(self, held: ExitStack) -> None:
        """Lock this worker's spool and those left over, for as long as `held` lives.

        Waits for a process that is still leaving. Raises: runfile.AlreadyRunningError.
        """
        for number in (self.number, *self.left_over_spools()):
            deadline = asyncio.get_running_loop().time() + _WAIT_S
            while True:
                try:
                    held.enter_context(runfile.Lock(self.data_dir, f"ingest-spool-{number}"))
                    break
                except runfile.AlreadyRunningError as exc:
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                    log.info("spool_still_held", spool=number, process=exc.pid)
                    await asyncio.sleep(_LOOK_S * 10)

    def settings(self, settings: IngestSettings) -> IngestSettings:
        """What differs between workers that share one settings file."""
        if not self.number:
            return settings
        broker = settings.broker
        # One process must see all messages of an edge node, which begin with its birth: worker 0.
        filters = tuple(one for one in broker.filters if not one.startswith(_SPARKPLUG))
        if broker.share_group and filters:
            broker = msgspec.structs.replace(broker, client_id=f"{broker.client_id}-w{self.number}", filters=filters)
        else:
            broker = msgspec.structs.replace(broker, host="")  # without sharing, each would get every message
        return msgspec.structs.replace(settings, broker=broker)
