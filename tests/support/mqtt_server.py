"""A small MQTT server for tests: the real endpoint, an index filled here, and a sink that keeps and acknowledges."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from ext.mqtt.hub import PublishChunk
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota
from ingest.settings import MqttSettings
from ingest.transport.mqtt import MqttEndpoint

SENSOR, OTHER, GATEWAY, CHILD, GONE = b"wl-1", b"wl-2", b"gw-1", b"wl-gw-1-a", b"wl-gone"
EDGE, TTS, CHIRPSTACK = b"edge-1", b"tts-1", b"chirp-1"
# May subscribe to and publish on anything; only below cf/v1/ and `plain/`; on nothing.
ADMIN, VIEWER, NOBODY = b"operator:admin", b"operator:viewer", b"operator:nobody"


# Messages a second, bytes a second, seconds' worth that may come at once.
Rate = tuple[float, float, float]
UNLIMITED: Rate = (0, 0, 0)


def token_of(device: bytes) -> bytes:
    return b"token-" + device


def fleet(extra: int = 0) -> DeviceIndex:
    """Two sensors, a gateway with a child, a decommissioned sensor, foreign gateways, operators; `extra` sensors."""
    index = DeviceIndex()
    index.put_metric(1, "water_level_m", "m")
    index.put_type(1, "water_level", False, "senml-json", [(1, None, None)])
    index.put_type(2, "gateway", True, "senml-json", [(1, None, None)])

    def put(num: int, device: bytes, type_num: int = 1, gateway_num: int = 0, is_active: bool = True) -> None:
        digests = [hashlib.sha256(token_of(device)).digest()] if is_active else []
        index.put_device(num, device.decode(), type_num, "00070", gateway_num, digests, is_active)

    put(1, SENSOR)
    put(2, OTHER)
    put(3, GATEWAY, type_num=2)
    put(4, CHILD, gateway_num=3)
    put(5, GONE, is_active=False)
    for i, (device, encoding) in enumerate([(EDGE, "sparkplug"), (TTS, "tts"), (CHIRPSTACK, "chirpstack")]):
        index.put_type(3 + i, encoding, True, encoding, [(1, None, None)])
        put(6 + i, device, type_num=3 + i)
    for operator, filters in [(ADMIN, ["#"]), (VIEWER, ["cf/v1/#", "plain/+"]), (NOBODY, [])]:
        name = operator.removeprefix(b"operator:").decode()
        index.put_operator(name, hashlib.sha256(token_of(operator)).digest(), filters, filters, True)
    for i in range(extra):
        put(10 + i, b"s-%05d" % i)
    return index


class Taken(NamedTuple):
    """One frame as the sink got it."""

    topic: bytes
    payload: bytes
    sender: int
    encoding: int
    scope: int
    reason: int


class MqttServer:
    """`taken` are the frames in order. With `acks` False chunks wait in `held` for `release()`."""

    def __init__(self, index: DeviceIndex, settings: MqttSettings, gather_ms: float, **limits: Any) -> None:
        self.index = index
        self.endpoint = MqttEndpoint(settings, gather_ms, index, self._take, **limits)
        self.taken: list[Taken] = []
        self.held: list[FrameChunk] = []
        self.acks = True
        self.port = 0
        self.addresses: dict[str, str] = {}

    def port_of(self, kind: str) -> int:
        return int(self.addresses[kind].rpartition(":")[2])

    def _take(self, chunk: FrameChunk) -> None:
        assert isinstance(chunk, PublishChunk)
        self.taken.extend(Taken(*frame) for frame in chunk.as_tuples())
        self.held.append(chunk)
        if self.acks:
            self.release()

    def release(self) -> None:
        held, self.held = self.held, []
        for chunk in held:
            assert chunk.on_durable is not None
            chunk.on_durable(chunk)

    def count(self, name: str) -> int:
        return self.endpoint.counters().get(name, 0)

    async def until(self, name: str, at_least: int, timeout_s: float = 60.0) -> None:
        """Wait for a counter. Raises AssertionError with all counters if it does not get there."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self.count(name) < at_least:
            assert asyncio.get_running_loop().time() < deadline, (name, at_least, self.endpoint.counters())
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serve(
    gather_ms: float = 1.0,
    extra: int = 0,
    devices: Rate = UNLIMITED,
    gateways: Rate = UNLIMITED,
    max_partial_bytes: int = 64_000_000,
    **settings: Any,
) -> AsyncIterator[MqttServer]:
    """Run a server on a free port of loopback; `devices` and `gateways` are their quotas."""
    index = fleet(extra)
    quota = Quota(index, devices, gateways)
    limits = {"quota": quota, "max_partial_bytes": max_partial_bytes}
    server = MqttServer(index, MqttSettings(port=0, **settings), gather_ms, **limits)
    server.addresses = await server.endpoint.start()
    server.port = server.port_of("mqtt")
    try:
        yield server
    finally:
        await server.endpoint.close()
