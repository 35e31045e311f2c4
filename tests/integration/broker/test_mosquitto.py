"""The consumer on mosquitto: its restart, a share group that loses a member, passwords, TLS."""

import asyncio
import signal
import subprocess

import pytest
import structlog

from ingest.errors import ConfigError
from tests.support.fake_broker import consuming
from tests.support.mosquitto import IS_THERE, Mosquitto, publish_until_acknowledged

pytestmark = pytest.mark.skipif(not IS_THERE, reason="mosquitto is not installed")
TOPIC = b"cf/v1/d/wl-1/telemetry"


def numbered(first, last):
    return [b"%d" % number for number in range(first, last)]


async def all_open(consumer):
    def are_open():
        connections = consumer.consumer.connections()
        return connections and all(gauges["open"] for _, gauges in connections)

    await consumer.until(are_open)


async def test_nothing_is_missing_after_restarts_of_the_broker(tmp_path):
    """With a plain subscription: mosquitto 2.0 does not keep shared ones over its own restart."""
    with Mosquitto(tmp_path) as broker:
        async with consuming(broker.port, share_group="") as consumer:
            await all_open(consumer)
            publisher = asyncio.create_task(
                publish_until_acknowledged(broker.port, TOPIC, numbered(0, 3000), pause_s=0.02)
            )
            for at_least in (500, 1500):
                await consumer.until_taken(at_least)
                await asyncio.to_thread(broker.stop)
                await asyncio.to_thread(broker.start)
            assert await publisher >= 3
            await consumer.until(lambda: set(consumer.payloads) == set(numbered(0, 3000)))
            await all_open(consumer)
            assert sum(consumer.consumer.reconnects().values()) >= 2


async def test_what_a_shared_subscription_had_before_a_restart_comes_again(tmp_path):
    with Mosquitto(tmp_path) as broker:
        async with consuming(broker.port, connections=2) as consumer:
            consumer.acks = False
            for first in (0, 500):
                await all_open(consumer)
                await publish_until_acknowledged(broker.port, TOPIC, numbered(first, first + 500))
                await asyncio.to_thread(broker.stop)
                await consumer.until(lambda: consumer.consumer.problem != "")
                consumer.release()
                await asyncio.to_thread(broker.start)
            await consumer.until(lambda: set(consumer.payloads) == set(numbered(0, 1000)))
            consumer.release()
            await all_open(consumer)


async def test_what_a_lost_member_of_the_group_had_comes_again(tmp_path):
    with Mosquitto(tmp_path) as broker:
        async with consuming(broker.port, client_id="one") as one:
            async with consuming(broker.port, client_id="two") as two:
                await all_open(one)
                await all_open(two)
                two.acks = False
                await publish_until_acknowledged(broker.port, TOPIC, numbered(0, 400))
                await two.until(lambda: len(one.taken) + len(two.taken) >= 400)
                assert len(one.taken) > 50
                assert len(two.taken) > 50
            await publish_until_acknowledged(broker.port, TOPIC, numbered(400, 500))
            async with consuming(broker.port, client_id="two") as again:
                await one.until(lambda: set(one.payloads) | set(again.payloads) == set(numbered(0, 500)))
                assert set(again.payloads) >= set(two.payloads)
                assert again.consumer.connections()[0][0]["duplicates"] >= len(two.payloads)


async def test_a_broker_killed_and_not_back_for_a_while_is_found_again(tmp_path):
    with Mosquitto(tmp_path) as broker:
        async with consuming(broker.port) as consumer:
            await all_open(consumer)
            broker.stop(signal.SIGKILL)
            await consumer.until_reconnect("lost")
            await consumer.until_reconnect("unreachable", 3)
            broker.start()
            await all_open(consumer)
            await publish_until_acknowledged(broker.port, TOPIC, numbered(0, 10))
            await consumer.until_taken(10)


async def test_a_second_process_with_our_client_id_is_suspected(tmp_path):
    """mosquitto 2.0 closes the older connection without a word."""
    with structlog.testing.capture_logs() as logs, Mosquitto(tmp_path) as broker:
        async with consuming(broker.port) as consumer, consuming(broker.port) as other:
            await consumer.until_reconnect("lost", 4)
            await other.until_reconnect("lost", 4)
    assert any("client_id must differ" in entry.get("advice", "") for entry in logs)


@pytest.mark.parametrize("is_right", [True, False])
async def test_passwords(tmp_path, is_right):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "me", "right"], check=True, capture_output=True)
    passwords.chmod(0o600)
    listener = f"allow_anonymous false\npassword_file {passwords}"
    with Mosquitto(tmp_path, listener=listener) as broker:
        password = "right" if is_right else "wrong"
        async with consuming(broker.port, username="me", password=password) as consumer:
            if is_right:
                await consumer.until(lambda: consumer.consumer.problem == "")
            else:
                await consumer.until_reconnect("not_authorized", 2)
                assert "not_authorized" in consumer.consumer.problem


def certificates(folder):
    """An authority, and a certificate of it for 127.0.0.1."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "server.key",
        "-out", "server.csr", "-subj", "/CN=broker",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip


async def test_tls(tmp_path):
    certificates(tmp_path)
    listener = (
        f"allow_anonymous true\ncafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\n"
        f"keyfile {tmp_path}/server.key\nrequire_certificate true"
    )
    ours = {"cert_file": str(tmp_path / "server.crt"), "key_file": str(tmp_path / "server.key")}
    with Mosquitto(tmp_path, listener=listener) as broker:
        async with consuming(broker.port, tls=True, ca_file=str(tmp_path / "other.crt"), **ours) as consumer:
            await consumer.until_reconnect("tls_failed")
        async with consuming(broker.port, tls=True, ca_file=str(tmp_path / "ca.crt"), **ours) as consumer:
            await all_open(consumer)
            await publish_over_tls(broker.port, tmp_path)
            await consumer.until_taken(1000)
            assert consumer.payloads == [b"%d" % number for number in range(1000)]


async def publish_over_tls(port, folder):
    text = "".join(f"{number}\n" for number in range(1000))
    await asyncio.to_thread(
        subprocess.run,
        ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", TOPIC.decode(), "-l",
         "--cafile", f"{folder}/ca.crt", "--cert", f"{folder}/server.crt", "--key", f"{folder}/server.key"],
        input=text.encode(), check=True, timeout=60,
    )  # fmt: skip


def test_files_that_cannot_be_read_are_named(tmp_path):
    async def start(**settings):
        async with consuming(1, **settings):
            pass

    for settings, word in (
        ({"password_file": str(tmp_path / "none")}, "password_file"),
        ({"tls": True, "ca_file": str(tmp_path / "none")}, "ca_file"),
    ):
        with pytest.raises(ConfigError, match=word):
            asyncio.run(start(**settings))
