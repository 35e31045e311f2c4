"""Two workers seen from outside: their metrics one by one, and connections to the one that a test wants."""

import asyncio
import json
import urllib.request
from collections.abc import Callable

import grpc
import psutil

from cityfleet.telemetry.v1 import downlink_pb2, downlink_pb2_grpc
from loadtest.platform import Platform
from runtime.secrets import secret
from tests.support import mqtt_packets as mq
from tests.support.mqtt_client import RawClient

DEVICES = 8
_OPEN = "cityfleet_ingest_transport_open"


def page(platform: Platform, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{platform.metrics_ports['ingest']}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def per_worker(platform: Platform, name: str, labels: str = "") -> dict[int, float]:
    """A sample of every worker that has it."""
    found = {}
    for line in page(platform).splitlines():
        for number in (0, 1):
            inner = f'worker="{number}"' + (f",{labels}" if labels else "")
            if line.startswith(f"{name}{{{inner}}} "):
                found[number] = float(line.rpartition(" ")[2])
    return found


def connected(platform: Platform) -> dict[int, float]:
    return per_worker(platform, _OPEN, 'kind="connections"')


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


async def client_on(
    platform: Platform,
    number: int,
    user: str,
    token: str,
    client_id: str = "",
    *,
    clean: bool = True,
    expiry_s: int = 0,
) -> RawClient:
    """A connection that the kernel gave to that worker: it chooses by the client's port. `connack` has the answer."""
    for _ in range(100):
        probe = await _accepted_by(platform, number)
        if probe is None:
            continue
        name = (client_id or f"{user}-{number}").encode()
        props = [(17, expiry_s)] if expiry_s else []
        probe.send(mq.connect(5, name, user.encode(), token.encode(), clean=clean, keep_alive_s=600, props=props))
        probe.connack = await probe.reply()
        assert probe.connack.reasons == (0,), probe.connack
        return probe
    raise AssertionError(f"worker {number} was never chosen")


async def until_known(platform: Platform, user: str, token: str) -> None:
    """Both workers take the account: they hear of a new one a moment after it was made."""
    unknown = {0, 1}
    async with asyncio.timeout(60):
        while unknown:
            async with RawClient(platform.mqtt_port) as client:
                owner = await _owner_of(platform, client)
                client.send(mq.connect(5, b"", user.encode(), token.encode(), clean=True))
                if (await client.reply()).reasons == (0,):
                    unknown.discard(owner)
                    client.send(mq.disconnect())
                await client.until_closed()
            await asyncio.sleep(0.02)


async def _accepted_by(platform: Platform, number: int) -> RawClient | None:
    """A socket that has said nothing yet, if it is that worker's."""
    client = RawClient(platform.mqtt_port)
    await client.__aenter__()
    if await _owner_of(platform, client) == number:
        return client
    await client.__aexit__(None, None, None)
    return None


async def _owner_of(platform: Platform, client: RawClient) -> int:
    """Number of the worker that has taken the connection."""
    port = client.writer.get_extra_info("sockname")[1]
    async with asyncio.timeout(60):
        while (owner := await asyncio.to_thread(_owner, platform, port)) is None:
            await asyncio.sleep(0.02)
    return owner


def _owner(platform: Platform, port: int) -> int | None:
    """The worker that has the connection from that port, None before it is taken: the kernel tells, no count does.

    What others of the same worker close meanwhile changes every count.
    """
    for number in (0, 1):
        pid = platform.worker_pid(number)
        if pid is None:
            continue
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.raddr and connection.raddr.port == port and connection.laddr.port == platform.mqtt_port:
                return number
    return None


def telemetry(device: str, second: int, packet_id: int = 1) -> bytes:
    pack = [{"n": "water_level_m", "t": 1_700_000_000 + second, "v": second % 20}]
    return mq.publish(f"cf/v1/d/{device}/telemetry".encode(), json.dumps(pack).encode(), packet_id)


def deliver(platform: Platform, device: str, payload: bytes) -> int:
    """Over a channel of its own, which lands on any worker."""
    with grpc.insecure_channel(platform.grpc, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = downlink_pb2_grpc.DownlinkServiceStub(channel).Deliver(
            downlink_pb2.DeliverRequest(device_id=device, subtopic="commands", payload=payload, qos=1),
            metadata=[("authorization", f"Bearer {secret(platform.data_dir, 'internal')}")],
            timeout=60,
        )
    return int(answer.deliveries)
