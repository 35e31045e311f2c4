"""Sessions, live messages, shared groups and retained messages where clients are on different workers."""

import asyncio
import json
import os
import signal

import pytest

from loadtest.platform import Platform
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient
from tests.support.workers import client_on, connected, deliver, per_worker, telemetry, until, until_known

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def operator(platform: Platform) -> str:
    """Token of `operator:desk`, which every worker knows."""
    answer = platform.cli(
        "operator", "create", "desk", "-s", "cf/v1/d/#", "-s", "city/#", "-p", "city/#", "-o", "json"
    )  # fmt: skip
    found = json.loads(answer.stdout)
    token = str((found[0] if isinstance(found, list) else found)["token"])
    asyncio.run(until_known(platform, "operator:desk", token))
    return token


async def leave(*clients: RawClient) -> None:
    for client in clients:
        client.send(mq.disconnect())
        await client.until_closed()
        await client.__aexit__(None, None, None)


async def lose(client: RawClient, platform: Platform) -> None:
    before = sum((await asyncio.to_thread(connected, platform)).values())
    client.writer.transport.abort()
    await until(lambda: sum(connected(platform).values()) < before)


async def subscribed(client: RawClient, filter: bytes, qos: int = 1) -> RawClient:
    client.send(mq.subscribe(1, [(filter, qos)]))
    while (answer := await client.reply()).type != mq.SUBACK:
        pass
    assert answer.reasons == (qos,), answer
    return client


async def published(client: RawClient, topic: bytes, payload: bytes, packet_id: int, retain: bool = False) -> None:
    client.send(mq.publish(topic, payload, packet_id, retain=retain))
    while (answer := await client.reply()).type != mq.PUBACK:
        pass
    assert answer.packet_id == packet_id


async def payloads(client: RawClient, wanted: int) -> list[bytes]:
    """So many messages, acknowledged."""
    found = []
    while len(found) < wanted:
        got = await client.reply()
        if got.type == mq.PUBLISH:
            found.append(got.payload)
            if got.qos:
                client.send(mq.puback(got.packet_id))
    return found


async def silent(client: RawClient) -> None:
    """Nothing is on its way from the client's own worker."""
    await client.ping()


async def test_a_session_follows_its_client_with_what_waits_for_it(platform, tokens):
    client = await client_on(platform, 0, "wl-0", tokens["wl-0"], "roams", clean=True, expiry_s=600)
    await subscribed(client, b"cf/v1/d/wl-0/commands")
    for worker, word in ((1, b"one"), (0, b"two"), (1, b"three")):
        await lose(client, platform)
        assert await asyncio.to_thread(deliver, platform, "wl-0", word) == 1
        client = await client_on(platform, worker, "wl-0", tokens["wl-0"], "roams", clean=False, expiry_s=600)
        assert client.connack is not None
        assert client.connack.session_present
        assert await payloads(client, 1) == [word]
        await silent(client)
    await leave(client)
    client = await client_on(platform, 0, "wl-0", tokens["wl-0"], "roams", clean=True)
    assert client.connack is not None
    assert not client.connack.session_present
    await leave(client)


async def test_a_live_view_sees_devices_of_both_workers_once(platform, tokens, operator):
    views = [
        await subscribed(await client_on(platform, worker, "operator:desk", operator), b"cf/v1/d/+/telemetry", 1)
        for worker in (0, 1)
    ]
    await asyncio.sleep(0.2)  # filters are told a few milliseconds later
    devices = [await client_on(platform, worker, f"wl-{worker}", tokens[f"wl-{worker}"]) for worker in (0, 1)]
    for number in range(1, 21):
        for worker, device in enumerate(devices):
            device.send(telemetry(f"wl-{worker}", number, number))
            assert (await device.reply()).type == mq.PUBACK
    for view in views:
        assert len(await payloads(view, 40)) == 40
        await silent(view)
    await leave(*views, *devices)


async def test_a_shared_group_over_both_workers_gets_each_message_once(platform, tokens, operator):
    members = [
        await subscribed(await client_on(platform, worker, "operator:desk", operator), b"$share/g/city/shared", 1)
        for worker in (0, 1)
    ]
    await asyncio.sleep(0.2)
    sender = await client_on(platform, 0, "operator:desk", operator, "sender")
    for number in range(1, 31):
        await published(sender, b"city/shared", b"%d" % number, number)
    heard: list[bytes] = []

    async def listen(member: RawClient) -> None:
        while True:
            heard.extend(await payloads(member, 1))

    listeners = [asyncio.create_task(listen(member)) for member in members]
    async with asyncio.timeout(60):
        while len(heard) < 30:
            await asyncio.sleep(0.05)
    for task in listeners:
        task.cancel()
    await asyncio.gather(*listeners, return_exceptions=True)
    assert sorted(map(int, heard)) == list(range(1, 31))
    await leave(sender)
    for member in members:
        await member.__aexit__(None, None, None)


async def test_a_retained_message_is_on_every_worker_also_on_one_that_starts(platform, operator):
    def retained() -> dict[int, float]:
        return per_worker(platform, "cityfleet_ingest_transport_open", 'kind="retained"')

    before = await asyncio.to_thread(retained)
    sender = await client_on(platform, 0, "operator:desk", operator, "sender")
    await published(sender, b"city/siren", b"armed", 1, retain=True)
    await until(lambda: retained() == {number: count + 1 for number, count in before.items()})
    view = await subscribed(await client_on(platform, 1, "operator:desk", operator), b"city/siren")
    assert await payloads(view, 1) == [b"armed"]
    await leave(view)
    killed = platform.worker_pid(1)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await until(lambda: platform.worker_pid(1) not in (None, killed))
    await until_known(platform, "operator:desk", operator)
    view = await subscribed(await client_on(platform, 1, "operator:desk", operator), b"city/siren")
    assert await payloads(view, 1) == [b"armed"]
    await leave(view, sender)
