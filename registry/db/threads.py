"""Threads that do the work of coroutines. A ThreadPoolExecutor does the same, and takes as long to hand over a read of
one row and bring back its result as SQLite takes for the row."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

R = TypeVar("R")


class Threads:
    """Some threads that take work in its order. Used from one loop."""

    def __init__(self, count: int, name: str) -> None:
        # None: leave.
        self._work: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        names = [f"{name}_{at}" for at in range(count)]
        self._threads = [threading.Thread(target=self._serve, name=each, daemon=True) for each in names]
        for thread in self._threads:
            thread.start()

    def run(self, work: Callable[[], R]) -> "asyncio.Future[R]":
        """What `work()` returns or raises. If nobody waits for it any more when its turn comes it is not begun."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._work.put((future, work))
        return future

    def shutdown(self) -> None:
        """Do what is waiting, and end."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (given := self._work.get()) is not None:
            future, work = given
            if not future.cancelled():
                _tell(future, *_done(work))
            # Not kept until the next work comes.
            del given, future, work


def _done(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return work(), None
    except BaseException as exc:  # whoever waits is told
        return None, exc


def _tell(future: asyncio.Future[Any], result: Any, exc: BaseException | None) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        future.get_loop().call_soon_threadsafe(_settle, future, result, exc)


def _settle(future: asyncio.Future[Any], result: Any, exc: BaseException | None) -> None:
    if future.cancelled():
        return
    if exc is None:
        future.set_result(result)
    else:
        future.set_exception(exc)
