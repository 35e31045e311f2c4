"""CPU of the MQTT endpoint alone: QoS 1 in, chunk to a sink that acknowledges at once, PUBACKs out.

`python -m loadtest.bench.mqtt_endpoint` prints one line of JSON for each scenario: `fat`, 64 connections that pipeline,
and `thin`, 1,000 connections that send one message each and wait. CPU is user and system time of the server process,
taken from the first byte to the last PUBACK; the generator runs in the parent and sends ready-made bytes.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import resource
import select
import socket
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple

import uvloop

from ext.mqtt.connection import Connection
from ext.mqtt.hub import Hub
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.quota import Quota

GATHER_MS = 2.0
PAYLOAD_BYTES = 100
TOKEN = b"token"
ACK_BYTES = 4


class Scenario(NamedTuple):
    """`burst` messages are sent on each connection, then their PUBACKs are awaited; `rounds` times."""

    connections: int
    burst: int
    rounds: int


SCENARIOS = {"fat": Scenario(64, 2_000, 8), "thin": Scenario(1_000, 1, 60)}


def device(number: int) -> bytes:
    return b"s-%05d" % number


async def _serve(control: "Pipe[object, object]", devices: int) -> None:
    """Answer `cpu` with this process's CPU seconds so far, and anything else by leaving."""
    loop = asyncio.get_running_loop()
    index = DeviceIndex()
    index.put_metric(1, "water_level_m", "m")
    index.put_type(1, "water_level", False, "senml-json", [(1, None, None)])
    for number in range(devices):
        index.put_device(
            number + 1, device(number).decode(), 1, "00070", 0, [hashlib.sha256(device(number) + TOKEN).digest()], True
        )

    def sink(chunk: FrameChunk) -> None:
        assert chunk.on_durable is not None
        chunk.on_durable(chunk)

    hub = Hub(
        index, sink, loop, GATHER_MS, max_packet_bytes=262_144, max_connections=50_000, receive_maximum=65_535,
        connect_timeout_s=30, max_keep_alive_s=1_200, quota=Quota(index, (1e9, 1e12, 60), (1e9, 1e12, 60)),
    )  # fmt: skip
    server = await loop.create_server(lambda: Connection(hub), "127.0.0.1", 0, backlog=4096)
    hub.start()
    left = asyncio.Event()

    def answer() -> None:
        if control.recv() != "cpu":
            left.set()
            return
        control.send((time.process_time(), hub.counters()))

    loop.add_reader(control.fileno(), answer)
    control.send(server.sockets[0].getsockname()[1])
    await left.wait()
    loop.remove_reader(control.fileno())
    server.close()
    hub.abort_all()


def _process(control: "Pipe[object, object]", devices: int) -> None:
    uvloop.run(_serve(control, devices))


@contextmanager
def serving(devices: int) -> "Iterator[tuple[Pipe[object, object], int]]":
    """A server process: its control pipe and its port."""
    context = multiprocessing.get_context("spawn")
    control, theirs = context.Pipe()
    process = context.Process(target=_process, args=(theirs, devices), daemon=True)
    process.start()
    try:
        port = control.recv()
        assert isinstance(port, int)
        yield control, port
        control.send("leave")
        process.join(10)
    finally:
        if process.is_alive():
            process.kill()


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def connect_packet(number: int) -> bytes:
    """MQTT 3.1.1 CONNECT, clean session."""
    name = device(number)
    body = _text(b"MQTT") + b"\x04\xc2\x00\x00" + _text(b"bench") + _text(name) + _text(name + TOKEN)
    return b"\x10" + bytes((len(body),)) + body


def publish_packets(number: int, burst: int) -> bytes:
    """`burst` PUBLISH packets of QoS 1, each of 100 payload bytes."""
    topic = _text(b"cf/v1/d/" + device(number) + b"/telemetry/batch")
    size = len(topic) + 2 + PAYLOAD_BYTES
    head = b"\x32" + bytes((size & 0x7F | 0x80, size >> 7)) + topic
    return b"".join(head + struct.pack(">H", i) + bytes(PAYLOAD_BYTES) for i in range(1, burst + 1))


def connect_all(port: int, connections: int) -> list[socket.socket]:
    links = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for number, link in enumerate(links):
        link.sendall(connect_packet(number))
    for link in links:
        if link.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("the server refused a connection")
        link.setblocking(False)
    return links


def send_round(links: Sequence[socket.socket], blobs: Sequence[bytes], burst: int) -> None:
    """Send every connection its blob and read until all of it is acknowledged."""
    poll = select.epoll()
    unsent = {link.fileno(): memoryview(blob) for link, blob in zip(links, blobs, strict=True)}
    awaited = {link.fileno(): ACK_BYTES * burst for link in links}
    by_number = {link.fileno(): link for link in links}
    for link in links:
        poll.register(link, select.EPOLLIN | select.EPOLLOUT)
    while awaited:
        for number, events in poll.poll(30):
            link = by_number[number]
            if events & select.EPOLLOUT and number in unsent:
                rest = unsent[number]
                rest = rest[link.send(rest[:262_144]) :]
                unsent[number] = rest
                if not rest:
                    del unsent[number]
                    poll.modify(link, select.EPOLLIN)
            if events & select.EPOLLIN:
                got = len(link.recv(65_536))
                if not got:
                    raise ConnectionError("closed before all was acknowledged")
                awaited[number] -= got
                if awaited[number] == 0:
                    del awaited[number]
    poll.close()


def measure(name: str, repeats: int) -> dict[str, object]:
    """Median and spread of `repeats` runs of one scenario, after one round to warm up."""
    scenario = SCENARIOS[name]
    messages = scenario.connections * scenario.burst * scenario.rounds
    cpu_us, rates = [], []
    with serving(scenario.connections) as (control, port):
        links = connect_all(port, scenario.connections)
        blobs = [publish_packets(number, scenario.burst) for number in range(scenario.connections)]
        send_round(links, blobs, scenario.burst)
        for _ in range(repeats):
            cpu_before, _ = _ask(control)
            began = time.perf_counter()
            for _ in range(scenario.rounds):
                send_round(links, blobs, scenario.burst)
            elapsed_s = time.perf_counter() - began
            cpu_after, counters = _ask(control)
            cpu_us.append((cpu_after - cpu_before) / messages * 1e6)
            rates.append(messages / elapsed_s)
        expected = scenario.connections * scenario.burst * (1 + scenario.rounds * repeats)
        if counters["messages.qos1"] != expected or counters["acks"] != expected:
            raise RuntimeError(f"sent {expected}, the server counted {counters}")
        for link in links:
            link.close()
    return {
        "bench": "mqtt_endpoint",
        "scenario": name,
        **scenario._asdict(),
        "payload_bytes": PAYLOAD_BYTES,
        "repeats": repeats,
        "cpu_us_per_message": round(statistics.median(cpu_us), 3),
        "cpu_us_spread": [round(min(cpu_us), 3), round(max(cpu_us), 3)],
        "messages_per_s": round(statistics.median(rates)),
    }


def _ask(control: "Pipe[object, object]") -> tuple[float, dict[str, int]]:
    control.send("cpu")
    answer = control.recv()
    assert isinstance(answer, tuple)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(SCENARIOS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_192)), hard))
    for name in SCENARIOS:
        if options.only in (None, name):
            print(json.dumps(measure(name, options.repeats)), flush=True)


if __name__ == "__main__":
    main()
