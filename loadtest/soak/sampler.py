"""What is looked at all the while: memory, file handles and threads of each role, parts, spool, disk."""

import contextlib
import os
import threading
import time
from pathlib import Path

from loadtest.bench.processes import family
from loadtest.platform import ROLES, Platform
from loadtest.soak.verdict import Allowed

# Unit, and what may grow: memory by what allocators keep, parts by the logarithm of the data and by when we look.
SERIES = {
    **{f"{role}_rss": ("MB", Allowed(0.05, 24)) for role in ROLES},
    "store_rss": ("MB", Allowed(0.1, 64)),  # the indexes of more and more data
    **{f"{role}_fds": ("files", Allowed(0.05, 8)) for role in ROLES},
    "store_fds": ("files", Allowed(0.25, 250)),  # merges open every column of what they merge
    **{f"{role}_threads": ("threads", Allowed(0.05, 8)) for role in ROLES},
    "parts": ("parts", Allowed(0.25, 40)),
    "spool": ("MB", Allowed(0.25, 256)),
    "puback_p50": ("ms", Allowed(0.25, 5)),
    "puback_p99": ("ms", Allowed(0.5, 50)),
}
_PARTS = "SELECT count() FROM system.parts WHERE active AND database = 'cityfleet'"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Sampler(threading.Thread):
    """`samples[name]` is a list of (seconds since the beginning, value). `problem` is what ended it."""

    def __init__(self, platform: Platform, period_s: float) -> None:
        super().__init__(name="sampler", daemon=True)
        self._platform = platform
        self._period_s = period_s
        self._is_over = threading.Event()
        self._pids = {role: platform.pid(role) for role in ROLES}
        self._began = time.monotonic()
        self.samples: dict[str, list[tuple[float, float]]] = {name: [] for name in SERIES}
        self.problem = ""

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began

    def add(self, name: str, value: float) -> None:
        self.samples[name].append((self.now_s, value))

    def run(self) -> None:
        while not self._is_over.wait(self._period_s):
            try:
                self._look()
            except (OSError, AssertionError, ValueError) as exc:
                self.problem = f"{type(exc).__name__}: {exc}"
                return

    def stop(self) -> None:
        self._is_over.set()
        self.join(60)

    def _look(self) -> None:
        for role, pid in self._pids.items():
            if self._platform.find_pid(role) != pid:
                raise ValueError(f"{role} was started again")
            pids = family(pid)
            self.add(f"{role}_rss", sum(map(_resident_bytes, pids)) / 1e6)
            self.add(f"{role}_fds", sum(_count(Path(f"/proc/{one}/fd")) for one in pids))
            self.add(f"{role}_threads", sum(_count(Path(f"/proc/{one}/task")) for one in pids))
        self.add("parts", float(self._platform.query(_PARTS, "admin")[0][0]))
        self.add("spool", sum(map(_size, self._platform.data_dir.glob("ingest/spool*/*.seg"))) / 1e6)


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _count(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return sum(1 for _ in folder.iterdir())
    return 0
