"""The sender's connection against mosquitto: what is acknowledged, what is refused, what survives a killed receiver."""

import asyncio
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest

from loadtest.ledger import SentLedger
from loadtest.link import DeviceLink, LinkRefusedError, Receiver
from loadtest.payload import Reading
from loadtest.platform import free_ports
from loadtest.replay.sender import NobodyListensError, NoTokenError, ReplaySender, SendOptions

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") and shutil.which("mosquitto_passwd")), reason="mosquitto is not installed"
)
MANY = [Reading("wl-1", "water_level_m", 1_700_000_000_000 + step, float(step)) for step in range(3000)]


class Mosquitto:
    """A broker that knows the devices wl-1 and wl-2 (token `right`), each for its own topics."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        passwords = folder / "passwords"
        for device in ("wl-1", "wl-2"):
            flags = ["-b"] if passwords.exists() else ["-c", "-b"]
            subprocess.run(
                ["mosquitto_passwd", *flags, str(passwords), device, "right"], check=True, capture_output=True
            )
        (folder / "acl").write_text("pattern readwrite cf/v1/d/%u/#\n")
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\nuser root\n"
            f"password_file {passwords}\nacl_file {folder / 'acl'}\n"
        )
        for name in ("passwords", "acl"):
            (folder / name).chmod(0o600)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, "mosquitto did not start"
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def receiver(self) -> Receiver:
        return Receiver("127.0.0.1", self.port, connect_timeout_s=3.0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    started = Mosquitto(tmp_path)
    yield started
    started.kill()


async def test_every_reading_is_acknowledged_once_and_arrives(broker: Mosquitto) -> None:
    ledger = SentLedger()
    async with aiomqtt.Client(
        "127.0.0.1", broker.port, username="wl-1", password="right", identifier="listener"
    ) as listener:
        await listener.subscribe("cf/v1/d/wl-1/#", qos=1)
        async with ReplaySender(broker.receiver, {"wl-1": "right"}, SendOptions(pack=50), ledger) as sender:
            await sender.send(iter(MANY))
        assert (sender.tally.sent, sender.tally.acked, sender.tally.messages) == (3000, 3000, 60)
        async with asyncio.timeout(60):
            seen = [message async for message in _first(listener, 60)]
    assert ledger.distinct() == 3000
    assert all(message.topic.value == "cf/v1/d/wl-1/telemetry" for message in seen)


async def _first(client: aiomqtt.Client, count: int):
    async for message in client.messages:
        yield message
        count -= 1
        if not count:
            return


async def test_what_a_killed_receiver_did_not_acknowledge_is_sent_again(broker: Mosquitto) -> None:
    ledger = SentLedger()
    killed = False

    def halfway(tally) -> None:
        nonlocal killed
        if tally.acked > 1000 and not killed:
            killed = True
            broker.kill()
            broker.start()

    sender = ReplaySender(broker.receiver, {"wl-1": "right"}, SendOptions(window=16), ledger, halfway)
    async with sender:
        await sender.send(iter(MANY))
    assert killed
    assert sender.tally.acked == 3000
    assert sender.tally.reconnects >= 1
    assert sender.tally.resent_messages >= 1
    assert ledger.added == ledger.distinct() == 3000


async def test_a_refused_message_is_not_acknowledged(broker: Mosquitto) -> None:
    reasons: list[str | None] = []
    async with DeviceLink(broker.receiver, "wl-1", "right") as link:
        await link.post("cf/v1/d/wl-2/telemetry", b"[]", reasons.append)
        await link.post("cf/v1/d/wl-1/telemetry", b"[]", reasons.append)
        assert await link.drain(5)
    assert sorted(map(str, reasons)) == ["None", "Not authorized"]


async def test_a_wrong_token_ends_the_attempts_and_says_so(broker: Mosquitto) -> None:
    async with DeviceLink(broker.receiver, "wl-1", "wrong") as link:
        with pytest.raises(LinkRefusedError, match="wl-1"):
            await link.connected(5)
    sender = ReplaySender(broker.receiver, {"wl-1": "wrong"}, SendOptions())
    async with sender:
        await sender.send(MANY[:10])
    assert sender.tally.acked == 0
    assert sender.tally.refused.total() == 10


async def test_one_refused_device_does_not_hold_up_another(broker: Mosquitto) -> None:
    both = [reading for one in MANY[:20] for reading in (one, one._replace(device_id="wl-2"))]
    sender = ReplaySender(broker.receiver, {"wl-1": "wrong", "wl-2": "right"}, SendOptions())
    async with sender:
        await sender.send(both)
    assert sender.tally.acked == 20
    assert sender.tally.unacked == 0


async def test_the_window_bounds_what_is_in_flight(broker: Mosquitto) -> None:
    most = 0
    async with DeviceLink(broker.receiver, "wl-1", "right", window=8) as link:
        await link.connected(5)
        for _ in range(200):
            await link.post("cf/v1/d/wl-1/telemetry", b"[]", lambda reason: None)
            most = max(most, link.in_flight)
        assert await link.drain(5)
    assert most == 8


async def test_nobody_listening_is_said_within_the_time_given() -> None:
    receiver = Receiver("127.0.0.1", free_ports(1)[0])
    async with ReplaySender(receiver, {"wl-1": "right"}, SendOptions(connect_timeout_s=0.5)) as sender:
        with pytest.raises(NobodyListensError, match=r"within 0\.5 s"):
            await sender.send(MANY)


async def test_a_device_without_token_is_named(broker: Mosquitto) -> None:
    async with ReplaySender(broker.receiver, {}, SendOptions()) as sender:
        with pytest.raises(NoTokenError, match="wl-1"):
            await sender.send(MANY)


async def test_a_paced_replay_takes_the_recorded_time(broker: Mosquitto) -> None:
    minute = [Reading("wl-1", "water_level_m", 1_700_000_000_000 + step * 10_000, 1.0) for step in range(7)]
    async with ReplaySender(broker.receiver, {"wl-1": "right"}, SendOptions(speed=60.0)) as sender:
        await sender.send(minute)
    assert 0.95 < sender.tally.seconds < 3.0
