"""mosquitto for tests: stopped and started again on its port and folder; and a publisher that does not give up."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from loadtest.platform import free_ports
from tests.support import mqtt_packets as mq

PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
IS_THERE = os.access(PROGRAM, os.X_OK)


class Mosquitto:
    """`with Mosquitto(tmp_path) as broker: broker.port`. What it keeps survives `stop` and `start`."""

    def __init__(self, folder: Path, *, extra: str = "", listener: str = "allow_anonymous true") -> None:
        """`listener`: lines for the listener; `extra`: lines for the whole broker."""
        self.port = free_ports(1)[0]
        state = folder / "mosquitto"
        state.mkdir()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"user root\npersistence true\npersistence_location {state}/\nmax_inflight_messages 0\n"
            f"max_queued_messages 1000000\n{extra}\nlistener {self.port} 127.0.0.1\n{listener}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mosquitto":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._process = subprocess.Popen([PROGRAM, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "mosquitto did not start"
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


async def publish_until_acknowledged(port: int, topic: bytes, payloads: Iterable[bytes], pause_s: float = 0) -> int:
    """Send every payload at QoS 1 until the broker has acknowledged it, over as many connections as that takes.

    Returns: how many connections it took.
    """
    waiting = dict(enumerate(payloads, 1))
    connections = 0
    while waiting:
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            connections += 1
            try:
                writer.write(mq.connect(4, b"publisher", None, None))
                await reader.readexactly(4)
                for number, payload in list(waiting.items()):
                    writer.write(mq.publish(topic, payload, number, version=4))
                    if number % 50 == 0:
                        await _take_acks(reader, waiting, number)
                        await asyncio.sleep(pause_s)
                await _take_acks(reader, waiting, 0)
            finally:
                writer.close()
        await asyncio.sleep(0.02)
    return connections


async def _take_acks(reader: asyncio.StreamReader, waiting: dict[int, bytes], until: int) -> None:
    """Read PUBACKs until this packet id is acknowledged; with 0, all."""
    while waiting if until == 0 else until in waiting:
        async with asyncio.timeout(60):
            packet = await reader.readexactly(4)
        assert packet[0] == 0x40, packet
        waiting.pop(struct.unpack(">H", packet[2:])[0], None)
