"""Checks of the spool: what waits in it, for how long, whether it has room, and how fast its disk is."""

import os
import shutil
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from cli.doctor_checks.check import Finding, age, fail, ok, size, skip, warn
from cli.doctor_checks.deployment import Deployment

# An acknowledgement waits for one fsync, so this is what a device waits at least.
_SLOW_FSYNC_S = 0.05
_FSYNCS, _FSYNC_BYTES = 12, 65_536
# The store takes a segment in well below a second; what waits longer waits for a reason.
_OLD_S = 120.0
_NEARLY_FULL = 0.5


def backlog(deployment: Deployment) -> Iterable[Finding]:
    limit = deployment.settings.ingest.spool.max_bytes
    folders = [path for path in deployment.ingest_paths("spool*") if path.is_dir()]
    if not folders:
        yield skip("spool.backlog", "there is no spool yet")
    for folder in folders:
        name = f"spool.backlog{folder.name.removeprefix('spool').replace('-', '.')}"
        segments = [stat for path in folder.glob("*.seg") if (stat := _stat(path))]
        total = sum(one.st_size for one in segments)
        oldest_s = max((time.time() - one.st_mtime for one in segments), default=0.0)
        what = f"{len(segments)} segments, {size(total)} of {size(limit)}, the oldest {age(oldest_s)} old"
        if total >= limit:
            yield fail(name, f"{what}: full, sockets are not read", "bring the store back or make it faster")
        elif total >= limit * _NEARLY_FULL:
            yield warn(name, what, "the store is behind: see its checks; above the limit sockets are not read")
        elif oldest_s > _OLD_S:
            remedy = "is the store there? See `write_retry` in ingest's log"
            if not deployment.role("ingest").is_up:
                remedy = "start ingest: it writes them to the store"
            yield warn(name, what, remedy)
        else:
            yield ok(name, what if segments else f"nothing waits, {size(limit)} may")


def room(deployment: Deployment) -> Iterable[Finding]:
    """Whether the disk has room for the spool to grow to its limit."""
    folder = _folder(deployment)
    if folder is None:
        yield skip("spool.disk", f"there is no folder {deployment.data_dir}")
        return
    limit = deployment.settings.ingest.spool.max_bytes * max(1, deployment.settings.ingest.workers)
    used = sum(stat.st_size for path in deployment.ingest_paths("spool*/*.seg") if (stat := _stat(path)))
    free = shutil.disk_usage(folder).free
    what = f"{size(free)} free for {size(max(0, limit - used))} that the spool may still grow"
    if free < 500_000_000:
        yield fail("spool.disk", what, "make room: on a full disk nothing is acknowledged")
    elif free < limit - used:
        remedy = f"make room, or set ingest.spool.max_bytes to less than {size(free + used)}: the disk fills up first"
        yield warn("spool.disk", what, remedy)
    else:
        yield ok("spool.disk", what)


def fsync(deployment: Deployment) -> Iterable[Finding]:
    """Measured beside the spool, with records of 64 kB."""
    folder = _folder(deployment)
    if folder is None:
        yield skip("spool.fsync", f"there is no folder {deployment.data_dir}")
        return
    try:
        times = sorted(_fsyncs(folder))
    except OSError as exc:
        yield fail("spool.fsync", f"cannot write below {folder}: {exc.strerror}", "see the disk and the folder's owner")
        return
    median_s = statistics.median(times)
    what = f"append and fdatasync of 64 kB: median {median_s * 1e3:.1f} ms, slowest {times[-1] * 1e3:.1f} ms"
    if median_s > _SLOW_FSYNC_S:
        yield warn("spool.fsync", what, "every acknowledgement waits for one: put the data folder on a faster disk")
    else:
        yield ok("spool.fsync", what)


def set_aside(deployment: Deployment) -> Iterable[Finding]:
    """Files that a person must look at: what they hold is acknowledged and not in the store."""
    found = deployment.ingest_paths("spool*/*.poison")
    if found:
        total = sum(stat.st_size for path in found if (stat := _stat(path)))
        what = (
            f"{len(found)} segments that the store refused, {size(total)}: {', '.join(path.name for path in found[:3])}"
        )
        remedy = (
            "ingest's log has the reason (`write_segment_set_aside`); when it is mended, stop ingest, rename them to "
            ".seg and start it: they are inserted under their old tokens, so nothing is stored twice"
        )
        yield fail("spool.set_aside", what, remedy)
    else:
        yield ok("spool.set_aside", "nothing was set aside")


def _fsyncs(folder: Path) -> Iterable[float]:
    path = folder / f".doctor-{os.getpid()}"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for _ in range(_FSYNCS):
            started = time.perf_counter()
            os.write(file, os.urandom(_FSYNC_BYTES))
            os.fdatasync(file)
            yield time.perf_counter() - started
    finally:
        os.close(file)
        path.unlink()


def _folder(deployment: Deployment) -> Path | None:
    for folder in (deployment.data_dir / "ingest", deployment.data_dir):
        if folder.is_dir():
            return folder
    return None


def _stat(path: Path) -> os.stat_result | None:
    """None if it has just been written and deleted."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
