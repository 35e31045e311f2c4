"""Admission: sockets are accepted at once, and served at a limited rate in the order in which they came.

A city's power cut ends with all its devices at the door. Served all at once they would hold up those already
connected; left in the kernel's backlog they would overflow it, and the order would be that of TCP's retries.
"""

import asyncio
import errno
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger()

BACKLOG = 4096
# Accepted, or served, in one turn of the loop: between the turns those who are connected are served.
_TURN = 32
# What has not been used of the rate in this long may be used at once.
_BURST_S = 0.25
_PAUSE_S = 0.25
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# What a client may have sent before it went away, as far as it is looked at.
_LAST_WORDS_BYTES = 4096

Serve = Callable[[socket.socket], Coroutine[object, object, None]]
# Whether a client that sent these bytes and closed its half of the connection need not be served any more.
IsLost = Callable[[bytes], bool]


class Admission:
    """The door of all listeners of one endpoint.

    Args:
        per_s: clients served a second.
        room: how many more sockets this process may hold; those that wait count.
        counters: gets `connects.lost_waiting`, clients that went away before their turn; `accept_pauses`.
    """

    def __init__(self, per_s: float, room: Callable[[], int], counters: Counter[str]) -> None:
        self._per_s = per_s
        self._room = room
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._burst = max(1.0, per_s * _BURST_S)
        self._tokens = self._burst
        self._filled_at = time.monotonic()
        self._listening: dict[socket.socket, tuple[Serve, IsLost]] = {}
        self._waiting: deque[tuple[socket.socket, Serve, IsLost]] = deque()
        self._poll = select.poll()
        self._serving: set[asyncio.Task[None]] = set()
        self._turn: asyncio.Handle | None = None
        self._resume: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Clients accepted and not served yet."""
        return len(self._waiting)

    @property
    def serving(self) -> int:
        """Clients being taken over by the loop, TLS handshakes for instance."""
        return len(self._serving)

    def listen(self, listener: socket.socket, serve: Serve, is_lost: IsLost) -> None:
        """Accept from a bound, non-blocking socket. `serve` owns the socket it gets and raises nothing."""
        listener.listen(BACKLOG)
        self._listening[listener] = serve, is_lost
        self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Stop accepting; those who wait are let go."""
        for listener in self._listening:
            self._loop.remove_reader(listener)
            listener.close()
        self._listening.clear()
        for handle in (self._turn, self._resume):
            if handle is not None:
                handle.cancel()
        self._turn = self._resume = None
        for client, *_ in self._waiting:
            client.close()
        self._waiting.clear()

    async def join(self) -> None:
        """End what is being served and has no protocol yet."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        serve, is_lost = self._listening[listener]
        for _ in range(_TURN):
            if self._room() <= 0:
                self._pause("as many sockets as this process may hold")
                break
            try:
                client, _address = listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                if exc.errno in _NO_ROOM:
                    self._pause(exc.strerror or str(exc))
                    break
                continue  # that client has gone again
            client.setblocking(False)
            self._waiting.append((client, serve, is_lost))
        if self._waiting and self._turn is None:
            self._serve_some()

    def _pause(self, why: str) -> None:
        """Leave those who come in the kernel's backlog for a while."""
        if self._resume is not None:
            return
        self._counters["accept_pauses"] += 1
        log.warning("mqtt_accept_paused", reason=why, waiting=len(self._waiting))
        for listener in self._listening:
            self._loop.remove_reader(listener)
        self._resume = self._loop.call_later(_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        self._resume = None
        for listener in self._listening:
            self._loop.add_reader(listener, self._accept, listener)

    def _serve_some(self) -> None:
        self._turn = None
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        for _ in range(_TURN):
            if not self._waiting or self._tokens < 1:
                break
            client, serve, is_lost = self._waiting.popleft()
            if self._has_gone(client, is_lost):
                self._counters["connects.lost_waiting"] += 1
                client.close()
                continue
            self._tokens -= 1
            task = self._loop.create_task(serve(client))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self._waiting:
            # At least a millisecond, so that the loop polls the sockets in between.
            wait_s = max(0.001, (1 - self._tokens) / self._per_s)
            self._turn = self._loop.call_later(wait_s, self._serve_some)

    def _has_gone(self, client: socket.socket, is_lost: IsLost) -> bool:
        """Those who gave up must not use up the turns of those who still wait."""
        self._poll.register(client, select.POLLRDHUP)
        events = self._poll.poll(0)
        self._poll.unregister(client)
        if not events:
            return False
        try:
            last_words = client.recv(_LAST_WORDS_BYTES, socket.MSG_PEEK)
        except OSError:
            return True
        return not last_words or is_lost(last_words)
