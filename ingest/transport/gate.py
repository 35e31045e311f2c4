"""The gate: how many bytes are between the sockets and the disk, and who stops reading when it is too many."""

import asyncio
from collections.abc import Callable


class Gate:
    """Closed above `limit_bytes` until half of them are through, or while it is held shut for another reason."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._is_shut = False
        self._open = asyncio.Event()
        self._open.set()
        self._listeners: list[tuple[Callable[[], None], Callable[[], None]]] = []

    @property
    def held_bytes(self) -> int:
        return self._bytes

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def on_change(self, closed: Callable[[], None], opened: Callable[[], None]) -> None:
        """Have `closed` and `opened` called when the gate changes."""
        self._listeners.append((closed, opened))

    def take(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        self._update()

    def give_back(self, size_bytes: int) -> None:
        self._bytes -= size_bytes
        self._update()

    def shut(self, is_shut: bool) -> None:
        """Hold the gate shut whatever the bytes (spool full), or stop doing so."""
        self._is_shut = is_shut
        self._update()

    async def wait_open(self) -> None:
        await self._open.wait()

    def _update(self) -> None:
        threshold = self._limit if self._open.is_set() else self._limit // 2
        is_open = not self._is_shut and self._bytes <= threshold
        if is_open == self._open.is_set():
            return
        if is_open:
            self._open.set()
        else:
            self._open.clear()
        for closed, opened in self._listeners:
            (opened if is_open else closed)()
