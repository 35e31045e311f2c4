"""Memory stays below a stated bound while the store is away or the disk refuses, and everything goes on by itself."""

import asyncio
import contextlib
import re
import resource
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from loadtest.fault.devices import provision
from loadtest.fault.processes import Roles
from loadtest.fault.sequence import Sequence
from tests.support import mosquitto
from tests.support import mqtt_packets as mq
from tests.support.flood import Flood

pytestmark = pytest.mark.usefixtures("executed_processes")
CAP = 48_000_000
# A quarter of it, which only devices may fill, is more than what gateways have under way when they are stopped.
SPOOL = 250_000_000
PER_MESSAGE = 500
GATEWAYS = 3
DEADLINE_S = 60.0
# What docs/pressure.md states: so much above an idle process, for allocators keep some of what is given back.
BOUND_MB = 2.5 * CAP / 1e6
SETTINGS = f"""
ingest.max_in_flight_bytes = {CAP}
ingest.spool.max_bytes = {SPOOL}
ingest.watermarks.refuse_after_s = 0.5
ingest.mqtt.connect_timeout_s = 3.0
"""


async def until(what, condition):
    """Raises: TimeoutError."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = condition()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(0.05)


def gate_open(roles, traffic):
    return roles.metric("ingest", f'cityfleet_ingest_gate_open{{traffic="{traffic}"}}') == 1


def waiting_for(roles):
    """Who is not read, and why, as /readyz tells it."""
    url = f"http://127.0.0.1:{roles.ports['ingest_http']}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as exc:
        text = exc.read().decode()
    return dict(re.findall(r"(\w+) not read \((\w+)\)", text))


def rss_mb(pid, what):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1000
    raise AssertionError(what)


async def connack(roles, user, token):
    """The reason code of a CONNECT."""
    reader, writer = await asyncio.open_connection("127.0.0.1", roles.ports["mqtt"])
    try:
        writer.write(mq.connect(5, b"late", user.encode(), token.encode()))
        head = await reader.readexactly(2)
        return (await reader.readexactly(head[1]))[1]
    finally:
        writer.transport.abort()


async def is_refused(roles, user, token):
    return await connack(roles, user, token) == 0x89


@contextlib.asynccontextmanager
async def platform(tmp_path, extra=""):
    with Roles(tmp_path, SETTINGS + extra) as roles:
        await roles.up()
        tokens = await provision(roles, GATEWAYS, GATEWAYS, alone=1)
        yield roles, tokens


@contextlib.asynccontextmanager
async def floods(roles, tokens, sequence):
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number in range(GATEWAYS):
            gateway = f"gw-{number}"
            topic = f"cf/v1/g/{gateway}/telemetry/batch".encode()
            flood = Flood(roles, gateway, tokens[gateway], topic, sequence.fixed(f"wl-{number}"), number, sequence)
            found.append(await stack.enter_async_context(flood))
        yield found


async def settled(flooding):
    """Everything that was sent is acknowledged."""
    for flood in flooding:
        flood.stop.set()
    await until("all is acknowledged", lambda: all(flood.acked == flood.sent for flood in flooding))
    return sum(flood.sent for flood in flooding) * PER_MESSAGE


async def test_while_the_store_is_away_bulk_waits_before_the_gauge_and_memory_is_bounded(tmp_path):
    sequence = Sequence("away", PER_MESSAGE, "water_level_m")
    with contextlib.ExitStack() as held:
        extra = ""
        if mosquitto.IS_THERE:
            broker = held.enter_context(mosquitto.Mosquitto(tmp_path))
            extra = (
                f'ingest.broker.host = "127.0.0.1"\ningest.broker.port = {broker.port}\n'
                "ingest.broker.keep_alive_s = 5\n"
            )
        async with platform(tmp_path, extra) as (roles, tokens):
            pid = roles.pid("ingest")
            idle_mb = rss_mb(pid, "VmRSS")
            roles.freeze("store")
            gauge = f"wl-{GATEWAYS}"
            gauge_topic = f"cf/v1/d/{gauge}/telemetry/batch".encode()
            from_broker = [sequence.payload(sequence.fixed(""), GATEWAYS, 1_000_000 + n) for n in range(200)]
            async with floods(roles, tokens, sequence) as flooding:
                await until("gateways wait", lambda: not gate_open(roles, "gateways"))
                await until(
                    "only the spool is full", lambda: waiting_for(roles) == {"broker": "disk", "gateways": "disk"}
                )
                # the gauge gets through
                one = Flood(roles, gauge, tokens[gauge], gauge_topic, sequence.fixed(""), GATEWAYS, sequence, 0.02)
                async with one:
                    await until("the gauge is acknowledged", lambda: one.acked >= 3)
                    one.stop.set()
                    await until("all of the gauge", lambda: one.acked == one.sent)
                # newcomers of the waiting class are told to come back
                await until("gateways are refused", lambda: is_refused(roles, "gw-0", tokens["gw-0"]))
                assert await connack(roles, gauge, tokens[gauge]) == 0
                assert await stream_code(roles, "gw-0", tokens["gw-0"]) is grpc.StatusCode.RESOURCE_EXHAUSTED
                waiting = [flood.acked for flood in flooding]
                if mosquitto.IS_THERE:
                    topic = f"cf/v1/d/{gauge}/telemetry/batch".encode()
                    await mosquitto.publish_until_acknowledged(broker.port, topic, from_broker)
                assert [flood.acked for flood in flooding] == waiting
                peak_mb = rss_mb(pid, "VmHWM")
                assert peak_mb - idle_mb < BOUND_MB, (peak_mb, idle_mb)
                roles.thaw("store")
                sent = await settled(flooding)
            sent += one.sent * PER_MESSAGE + len(from_broker) * PER_MESSAGE * mosquitto.IS_THERE
            await stored(roles, sent)
            assert rss_mb(pid, "VmHWM") - idle_mb < BOUND_MB
            assert gate_open(roles, "broker")


async def test_while_the_disk_refuses_memory_is_bounded_and_nothing_is_acknowledged(tmp_path):
    sequence = Sequence("refuses", PER_MESSAGE, "water_level_m")
    async with platform(tmp_path) as (roles, tokens):
        pid = roles.pid("ingest")
        idle_mb = rss_mb(pid, "VmRSS")
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))  # every write to a file fails from now on
        async with floods(roles, tokens, sequence) as flooding, contextlib.AsyncExitStack() as loris:
            await until("gateways wait", lambda: not gate_open(roles, "gateways"))
            # beside it: CONNECTs and packets that never end
            for _ in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", roles.ports["mqtt"])
                loris.callback(writer.transport.abort)
                writer.write(mq.connect(5, b"c" * 9000, b"wl-0", tokens["wl-0"].encode())[:-100])
            acked = [flood.acked for flood in flooding]
            await until("gateways are refused", lambda: is_refused(roles, "gw-0", tokens["gw-0"]))
            assert [flood.acked for flood in flooding] == acked
            held = roles.metric("ingest", 'cityfleet_ingest_memory_bytes{what="frames"}')
            assert held <= CAP + 3_000_000
            peak_mb = rss_mb(pid, "VmHWM")
            assert peak_mb - idle_mb < BOUND_MB, (peak_mb, idle_mb)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
            sent = await settled(flooding)
        await stored(roles, sent)


async def stream_code(roles, user, token):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{roles.ports['grpc']}") as channel:
        call = channel.stream_stream("/cityfleet.telemetry.v1.TelemetryService/Publish")
        # It sends nothing: grpc.aio itself may answer INTERNAL to who sends into a call that was refused.
        return await call(metadata=(("cf-device-id", user), ("authorization", f"Bearer {token}")), timeout=60).code()


async def stored(roles, readings):
    await asyncio.to_thread(roles.wait_for, "SELECT count() FROM ioc.readings", [[str(readings)]], DEADLINE_S)
