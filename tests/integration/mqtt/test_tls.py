"""TLS: handshakes that break, stall or are not TLS, certificates that change, and files that are broken."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import ConfigError
from ingest.settings import MqttSettings, SecureWebSocketSettings, TlsSettings
from ingest.transport.mqtt import MqttEndpoint
from tests.support import mqtt_packets as mq
from tests.support.certificates import Authority
from tests.support.mqtt_client import RawClient
from tests.support.mqtt_server import MqttServer, fleet, serve

CONNECT = mq.connect(5, b"tls-1", b"wl-1", b"token-wl-1")
TOPIC = b"cf/v1/d/wl-1/telemetry"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def settings(authority: Authority, **changed: Any) -> TlsSettings:
    cert_file, key_file = authority.issue("server")
    return TlsSettings(
        **{"enabled": True, "port": 0, "cert_file": str(cert_file), "key_file": str(key_file), **changed}
    )


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca_file)


async def connected(server: MqttServer, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"), ssl=context)
    writer.write(CONNECT)
    async with asyncio.timeout(60):
        assert (await reader.read(1000))[0] >> 4 == mq.CONNACK
    return reader, writer


def serial(writer: asyncio.StreamWriter) -> str:
    return str(writer.get_extra_info("peercert")["serialNumber"])


async def handshake(server: MqttServer, context: ssl.SSLContext) -> tuple[str, str]:
    """Serial number of the server's certificate and the version of TLS."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"), ssl=context)
    found = serial(writer), writer.get_extra_info("ssl_object").version()
    writer.close()
    return found


async def until_counted(server: MqttServer) -> None:
    """A client that gives up may do it before its turn, with an alert, or without a word."""
    async with asyncio.timeout(60):
        while not any(server.count(f"connects.{name}") for name in ("tls_lost", "tls_failed", "lost_waiting")):
            await asyncio.sleep(0.005)


async def test_a_large_message_and_many_small_ones_come_whole(authority):
    async with serve(tls=settings(authority)) as server:
        reader, writer = await connected(server, trusting(authority))
        payloads = [b"x" * 200_000, *(b"%d" % number for number in range(2000)), b"y" * 200_000]
        writer.write(b"".join(mq.publish(TOPIC, payload, number) for number, payload in enumerate(payloads, start=1)))
        acked = b""
        while len(acked) < 4 * len(payloads):
            async with asyncio.timeout(60):
                acked += await reader.read(65_536)
        assert [taken.payload for taken in server.taken] == payloads
        writer.close()


async def test_the_last_word_arrives_over_tls(authority):
    async with serve(tls=settings(authority)) as server:
        reader, writer = await connected(server, trusting(authority))
        assert server.endpoint.kick(b"wl-1") == 1
        async with asyncio.timeout(60):
            assert (await reader.read())[:1] == bytes([mq.DISCONNECT << 4])
        writer.close()


@pytest.mark.parametrize(
    ("version", "is_welcome"),
    [
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_tls_1_2_is_the_oldest(authority, version, is_welcome):
    context = trusting(authority)
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if not is_welcome else contextlib.nullcontext():
        context.minimum_version = context.maximum_version = version
    if not is_welcome:
        context.set_ciphers("ALL:@SECLEVEL=0")
    async with serve(tls=settings(authority)) as server:
        if is_welcome:
            assert (await handshake(server, context))[1] == version.name.replace("_", ".")
        else:
            with pytest.raises(OSError):
                await handshake(server, context)
            await server.until("connects.tls_failed", 1)


@pytest.mark.parametrize(
    "sent",
    [
        CONNECT,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000,
        b"\x00" * 1000,
    ],
)
async def test_what_is_not_tls_is_counted_and_hurts_nobody(authority, sent):
    async with serve(tls=settings(authority)) as server, RawClient(server.port) as witness:
        await witness.connect(b"wl-2", b"witness")
        _, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"))
        writer.write(sent)
        await server.until("connects.tls_failed", 1)
        writer.close()
        _, good = await connected(server, trusting(authority))
        good.close()
        await witness.ping()


async def test_a_client_that_trusts_another_authority_is_counted(authority, tmp_path):
    other = Authority(tmp_path / "other", "another authority")
    async with serve(tls=settings(authority)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await handshake(server, trusting(other))
        await until_counted(server)


@pytest.mark.parametrize("sent", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_handshake_that_stalls_is_ended(authority, sent):
    async with serve(tls=settings(authority), connect_timeout_s=0.3) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"))
        writer.write(sent)
        await server.until("connects.tls_timeout", 1)
        writer.close()


async def test_a_client_that_goes_in_its_handshake_is_counted(authority):
    async with serve(tls=settings(authority)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"))
        writer.write(b"\x16\x03\x01\x02\x00\x01")
        await writer.drain()
        writer.transport.abort()
        await until_counted(server)


async def test_a_finished_handshake_without_a_connect_times_out(authority):
    async with serve(tls=settings(authority), connect_timeout_s=0.5) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port_of("mqtts"), ssl=trusting(authority))
        await server.until("connects.timeout", 1)
        writer.close()


async def test_stalled_handshakes_do_not_hold_up_shutdown(authority):
    async with serve(tls=settings(authority), connect_timeout_s=60) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port_of("mqtts"))) as stalled:
                stalled.send(b"\x16")
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await server.endpoint.close()


async def test_a_changed_certificate_is_used_for_the_next_client(authority):
    tls = settings(authority)
    async with serve(tls=tls) as server:
        reader, writer = await connected(server, trusting(authority))
        before = serial(writer)
        authority.issue("server")
        await server.until("tls_reloads", 1)
        assert (await handshake(server, trusting(authority)))[0] != before
        writer.write(mq.publish(TOPIC, b"still here", 1))
        async with asyncio.timeout(60):
            assert (await reader.read(100))[0] >> 4 == mq.PUBACK
        writer.close()


async def test_a_certificate_that_breaks_leaves_the_old_one_in_use(authority):
    tls = settings(authority)
    async with serve(tls=tls) as server:
        before = (await handshake(server, trusting(authority)))[0]
        kept = Path(tls.cert_file).read_bytes()
        Path(tls.cert_file).write_bytes(kept[:100])
        await server.until("tls_reload_failures", 1)
        assert (await handshake(server, trusting(authority)))[0] == before
        authority.issue("server")
        await server.until("tls_reloads", 1)
        assert (await handshake(server, trusting(authority)))[0] != before


async def start(tls: TlsSettings) -> None:
    endpoint = MqttEndpoint(MqttSettings(port=0, tls=tls), 1.0, fleet(), lambda chunk: None)
    await endpoint.start()
    await endpoint.close()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"cert_file": ""}, r"ingest\.mqtt\.tls\.cert_file: TLS needs"),
        ({"cert_file": "{}/none.pem"}, r"ingest\.mqtt\.tls\.cert_file: cannot read .*No such file"),
        ({"cert_file": "{}/noise"}, r"ingest\.mqtt\.tls\.cert_file: no certificate"),
        ({"cert_file": "{}/empty"}, r"ingest\.mqtt\.tls\.cert_file: no certificate"),
        ({"cert_file": "{}/other.key"}, r"ingest\.mqtt\.tls\.cert_file: no certificate"),
        ({"key_file": "{}/none.key"}, r"ingest\.mqtt\.tls\.key_file: cannot read"),
        ({"key_file": "{}/noise"}, r"ingest\.mqtt\.tls\.key_file: no private key"),
        ({"key_file": "{}/other.key"}, r"ingest\.mqtt\.tls\.key_file: .* is not the key of"),
        ({"key_file": "{}/locked.key"}, r"ingest\.mqtt\.tls\.key_file: .* is encrypted"),
        ({"key_file": ""}, r"ingest\.mqtt\.tls\.cert_file: no private key"),
        ({"client_ca_file": "{}/none.pem"}, r"ingest\.mqtt\.tls\.client_ca_file: cannot read"),
        ({"client_ca_file": "{}/noise"}, r"ingest\.mqtt\.tls\.client_ca_file: no certificate"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_with_its_setting(authority, tmp_path, changed, says):
    (tmp_path / "noise").write_text("-----BEGIN CERTIFICATE-----\nnoise\n-----END CERTIFICATE-----\n")
    (tmp_path / "empty").write_text("")
    authority.issue("other")
    authority.issue("locked", password=b"secret")
    named = {name: value.format(tmp_path) for name, value in changed.items()}
    with pytest.raises(ConfigError, match=says):
        await start(settings(authority, **named))


async def test_one_file_may_hold_certificate_and_key(authority, tmp_path):
    tls = settings(authority)
    both = tmp_path / "both.pem"
    both.write_bytes(Path(tls.cert_file).read_bytes() + Path(tls.key_file).read_bytes())
    async with serve(tls=settings(authority, cert_file=str(both), key_file="")) as server:
        await handshake(server, trusting(authority))


async def test_secure_websockets_need_the_certificate_of_tls():
    endpoint = MqttEndpoint(
        MqttSettings(port=0, websocket_tls=SecureWebSocketSettings(enabled=True, port=0)), 1.0, fleet(), lambda _: None
    )
    with pytest.raises(ConfigError, match=r"ingest\.mqtt\.tls\.cert_file"):
        await endpoint.start()
