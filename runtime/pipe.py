"""A bounded pipe between two stages: a full pipe makes its writer wait, a closed and empty one ends its reader."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Pipe(Generic[T]):
    """Carries chunks, never single readings. One loop, any number of writers and readers."""

    def __init__(self, capacity_chunks: int) -> None:
        self._capacity = capacity_chunks
        self._chunks: deque[T] = deque()
        self._closed = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def is_ended(self) -> bool:
        """Closed and empty."""
        return self._closed and not self._chunks

    @property
    def is_full(self) -> bool:
        return len(self._chunks) >= self._capacity

    @property
    def waiting(self) -> Iterable[T]:
        """What is inside, the oldest first; to look at before anything else happens in the loop."""
        return self._chunks

    async def put(self, chunk: T) -> None:
        """Wait for room, then add. Raises RuntimeError if the pipe is closed."""
        while self.is_full and not self._closed:
            self._writable.clear()
            await self._writable.wait()
        self.put_nowait(chunk)

    def put_nowait(self, chunk: T) -> None:
        """Add without waiting, even above the capacity: for a writer that checks `is_full` and stops its source."""
        if self._closed:
            raise RuntimeError("the pipe is closed")
        self._chunks.append(chunk)
        self._readable.set()

    async def wait_writable(self) -> None:
        """Return when the pipe has room or is closed."""
        while self.is_full and not self._closed:
            self._writable.clear()
            await self._writable.wait()

    async def get(self) -> T | None:
        """Wait for the next chunk; None when the pipe is closed and empty."""
        while not self._chunks:
            if self._closed:
                return None
            self._readable.clear()
            await self._readable.wait()
        return self.get_nowait()

    def get_nowait(self) -> T | None:
        """The next chunk if there is one now."""
        if not self._chunks:
            return None
        chunk = self._chunks.popleft()
        self._writable.set()
        return chunk

    def close(self) -> None:
        """No more chunks will come. What is inside can still be read."""
        self._closed = True
        self._readable.set()
        self._writable.set()

    async def __aiter__(self) -> AsyncIterator[T]:
        while (chunk := await self.get()) is not None:
            yield chunk
