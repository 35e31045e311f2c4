"""Threads with names that the system shows: `top -H`, and the benchmarks' profile by stage."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def named_pool(name: str, threads: int = 1) -> ThreadPoolExecutor:
    """A pool whose threads carry `name` (at most 15 characters) also outside of Python."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_take_name, initargs=(name[:15],))


def _take_name(name: str) -> None:
    with contextlib.suppress(OSError):  # a convenience, and Linux's own
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
