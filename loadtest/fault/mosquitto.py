"""A mosquitto of the harness, set as docs/broker.md says: stopped in order, killed, wiped, started on the same port."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from loadtest.platform import free_ports

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
IS_THERE = os.access(PROGRAM, os.X_OK)


class Mosquitto:
    """`with Mosquitto(folder) as broker: await broker.start()`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self._state = folder / "mosquitto"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"user root\npersistence true\npersistence_location {self._state}/\nmax_inflight_messages 0\n"
            f"max_queued_messages 1000000\nlog_dest none\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mosquitto":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    async def start(self) -> None:
        """Raises: RuntimeError if it does not listen."""
        self._state.mkdir(exist_ok=True)
        self._begin()
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if not self.is_running or time.monotonic() > deadline:
                    raise RuntimeError("mosquitto did not start") from None
                await asyncio.sleep(0.02)

    def _begin(self) -> None:
        self._process = subprocess.Popen([PROGRAM, "-c", str(self._config)], stderr=subprocess.DEVNULL)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def end(self, how: int = signal.SIGTERM) -> None:
        """In order it writes down what it holds; killed, it does not."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def wipe(self) -> None:
        """Sessions, subscriptions and queues are gone; it must not run."""
        shutil.rmtree(self._state)
