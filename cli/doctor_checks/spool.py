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
_NEARLY_FULL = 0.5


def backlog(deployment: Deployment) -> Iterable[Finding]:
    limit, old_s = deployment.settings.ingest.spool.max_bytes, deployment.settings.ingest.spool.max_age_s
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
        elif oldest_s > old_s:
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
    least = deployment.settings.ingest.spool.min_free_bytes
    if free <= least:
        remedy = f"make room: with less than ingest.spool.min_free_bytes ({size(least)}) free, nothing is acknowledged"
        yield fail("spool.disk", what, remedy)
    elif free - least < limit - used:
        remedy = (
            f"make room, or set ingest.spool.max_bytes to {size(max(0, free - least + used))}: the disk fills up first"
        )
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
    """Files that nothing reads any more: a person must look at them. See docs/spool.md."""
    poison = _names(deployment, "poison")
    if poison:
        what = f"{len(poison)} segments that the store does not take, or that changed once closed: {_few(poison)}"
        remedy = (
            "ingest's log has the reason (`write_segment_set_aside`); when it is mended, stop ingest, rename them to "
            ".seg and start it: they are inserted under their old tokens, so nothing is stored twice"
        )
        yield fail("spool.poison", what, remedy)
    if damaged := _names(deployment, "damaged"):
        what = f"{len(damaged)} segments with damage, whose whole records are in the store: {_few(damaged)}"
        remedy = "see the disk; the log says what is lost (`spool_record_damaged`); remove them when you have looked"
        yield warn("spool.damaged", what, remedy)
    if foreign := _names(deployment, "aside"):
        what = f"{len(foreign)} files that are none of the spool, unreadable, or of a newer version: {_few(foreign)}"
        yield warn("spool.aside", what, "a newer version takes up its own when they have their old name; remove others")
    if not (poison or damaged or foreign):
        yield ok("spool.set_aside", "nothing was set aside")


def losses(deployment: Deployment) -> Iterable[Finding]:
    """What recovery could not read when this ingest started."""
    answer = deployment.role("ingest")
    if not answer.is_up:
        yield skip("spool.losses", "ingest does not run")
        return
    kinds = answer.by("cityfleet_ingest_spool_lost_readings_total", "kind")
    unknown = answer.value("cityfleet_ingest_spool_lost_bytes_total") or 0
    if kinds.get("damaged") or unknown:
        what = f"at its start {kinds.get('damaged', 0):,.0f} readings were damaged, and {size(unknown)} beside them"
        remedy = "the log says which and of which time (`spool_record_damaged`); see the disk"
        yield fail("spool.losses", what, remedy)
    elif kinds.get("unfinished"):
        what = f"{kinds['unfinished']:,.0f} readings of records that were being written when the run before ended"
        yield ok("spool.losses", f"{what}: as a rule not acknowledged, and sent again")
    else:
        yield ok("spool.losses", "nothing was damaged when ingest started")


def _names(deployment: Deployment, suffix: str) -> list[str]:
    return [path.name for path in deployment.ingest_paths(f"spool*/*.{suffix}")]


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
