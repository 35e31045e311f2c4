"""A folder whose power can be lost: processes run with the library preloaded, are killed, and a disk is left."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from loadtest.fault.power import journal
from loadtest.fault.power.disk import Disk

_SOURCE = Path(__file__).with_name("shim.c")
_BUILD = Path(__file__).parents[3] / "build" / "power"


def library() -> Path:
    """The shared library, compiled if its source is newer. Raises: FileNotFoundError without gcc."""
    built = _BUILD / "shim.so"
    if not built.exists() or built.stat().st_mtime < _SOURCE.stat().st_mtime:
        _BUILD.mkdir(parents=True, exist_ok=True)
        draft = _BUILD / f"shim-{os.getpid()}.so"
        subprocess.run(
            ["gcc", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(draft), str(_SOURCE), "-ldl", "-lpthread"],
            check=True,
            capture_output=True,
        )
        draft.replace(built)
    return built


class PowerFolder:
    """`power = PowerFolder(data, scratch)`; start processes with `power.environment`; kill all; `power.lose(random)`.

    Everything in the folder counts as durable when this is made and again after each loss, so no process may have it
    open then. The journal holds every byte that is written: seconds of load, not hours.
    """

    def __init__(self, folder: Path, scratch: Path, *, has_journal: bool = False) -> None:
        """
        Args:
            scratch: a folder of ours, beside `folder` on the same file system.
            has_journal: names become durable as on ext4 and XFS, not only by POSIX's word.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._scratch = scratch
        self._has_journal = has_journal
        self._round = 0
        self.losses = 0
        self.disk: Disk
        self.settle()

    def settle(self) -> None:
        """All that is in the folder has reached the disk; nobody has it open."""
        self._round += 1
        self.disk = Disk(self.folder, has_journal=self._has_journal)
        self.journal = self._scratch / f"journal-{self._round}"
        self.journal.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment beside its own."""
        return {
            "LD_PRELOAD": str(library()),
            "POWER_FOLDER": str(self.folder),
            "POWER_JOURNAL": str(self.journal.resolve()),
        }

    def lose(self, chance: random.Random | None, keep: Path | None = None) -> None:
        """Put what survives in the folder's place. The processes that had it open are dead.

        Args:
            chance: None: nothing survives that was not synced; else a part of it does, by chance.
            keep: where the folder as the processes left it goes; None: away.
        """
        for record in journal.read(self.journal):
            self.disk.apply(record)
        left = self._scratch / f"left-{self._round}"
        self.disk.write_to(left, chance)
        aside = keep or self._scratch / f"before-{self._round}"
        self.folder.rename(aside)
        left.rename(self.folder)
        if keep is None:
            shutil.rmtree(aside)
        shutil.rmtree(self.journal)
        self.losses += 1
        self.settle()
