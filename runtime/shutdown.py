"""Shutdown: SIGTERM or SIGINT sets an event; a role that serves until then leaves in flow order."""

import asyncio
import signal
from collections.abc import Iterable
from typing import Any

import structlog

log = structlog.get_logger()


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set, in the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], patience_s: float = 5.0) -> None:
    """Cancel them until all have ended: one in which a library swallowed the cancellation is told again, and named."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=patience_s)
        for task in left:
            log.warning("task_goes_on", name=task.get_name())
