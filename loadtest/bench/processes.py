"""What processes use: CPU by thread and memory, from /proc. CPU time does not depend on what else the machine does."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_TICK_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Threads of the embedded engine that do more than one thing are told apart by what the engine calls them.
_MERGES = ("MergeMutate", "BgSchPool", "Merge")


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, threads that have ended included."""
    return _used_s(Path(f"/proc/{pid}/stat"))


def cpu_by_thread(pid: int) -> Counter[str]:
    """The same by the name of the thread; `loop` is the main thread, `ended` those that are gone."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            name = "loop" if task.name == str(pid) else (task / "comm").read_text().strip()
            found["merges" if name.startswith(_MERGES) else name] += _used_s(task / "stat")  # type: ignore[assignment]
    found["ended"] = max(0.0, cpu_s(pid) - sum(found.values()))  # type: ignore[assignment]
    return found


def memory_bytes(pids: list[int]) -> int:
    """Resident memory that is not shared with other processes."""
    total = 0
    for pid in pids:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        total += (int(resident) - int(shared)) * _PAGE_BYTES
    return total


def socket_bytes() -> int:
    """The kernel's buffers of all TCP sockets of the machine."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            fields = line.split()
            return int(fields[fields.index("mem") + 1]) * _PAGE_BYTES
    return 0


class Stolen:
    """CPU time that the host of this virtual machine has given to others from its making on."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        user, nice, system, _, _, interrupts, soft, stolen, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
        return stolen, user + nice + system + interrupts + soft + stolen

    def share(self) -> float:
        """Of the time in which a processor was wanted, 0 to 1."""
        stolen, wanted = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return stolen / wanted if wanted else 0.0


class Meter:
    """CPU of several processes from its making on, by process and thread; `ingest/loop`, `store/merges`."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = {name: family(pid) for name, pid in pids.items()}
        self._before = self._now()

    def _now(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for name, pids in self._pids.items():
            for pid in pids:
                for thread, used_s in cpu_by_thread(pid).items():
                    found[f"{name}/{thread}"] += used_s
        return found

    def used_s(self) -> dict[str, float]:
        """What was used since, largest first; nothing below a hundredth of all."""
        now = self._now()
        used = {name: now[name] - self._before[name] for name in now}
        total = sum(used.values())
        return {name: s for name, s in sorted(used.items(), key=lambda item: -item[1]) if s > total / 100}

    def total_s(self, name: str) -> float:
        """Of one process."""
        return sum(s - self._before[key] for key, s in self._now().items() if key.startswith(f"{name}/"))


def _used_s(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK_S
