"""What the extensions allocate they give back: thousands of rounds leave the C heap as it was."""

import ctypes
import gc
import json
from collections.abc import Callable
from hashlib import sha256

import psutil
import pytest

from cityfleet.registry.v1 import device_index_pb2 as pb
from cityfleet.telemetry.v1 import telemetry_pb2
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_feed import DeviceStream
from ext.telemetry.index_image import parts_of, restore
from tests.support.pipeline import Message, Pipeline
from tests.support.resolve_twin import NOW_MS, make_index

# What may stay: caches of the interpreter and of the allocator. A leak of 32 bytes a round is four times that.
ALLOWED_BYTES = 32_768
ROUNDS = 4_000


class _MallInfo(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def heap_bytes() -> int:
    """In use, from malloc; the interpreter's own small objects are elsewhere."""
    gc.collect()
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _MallInfo
    info = libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def growth(work: Callable[[], None], rounds: int = ROUNDS) -> int:
    for _ in range(rounds // 4):
        work()
    before = heap_bytes()
    for _ in range(rounds):
        work()
    return heap_bytes() - before


def test_decoding_resolving_and_sealing_leave_nothing_behind() -> None:
    pipeline = Pipeline(make_index())
    batch = telemetry_pb2.ReadingBatch(
        base_time_ms=NOW_MS, devices=["wl-1", "nobody"], device_index=[0, 1], metrics=["rain_mm"], value=[1, 2]
    ).SerializeToString()
    senml = json.dumps([{"n": "rain_mm", "v": 1}, {"n": "rain_mm", "vs": "wet \u00e9"}, {"n": "x", "v": 1}]).encode()
    messages = [
        Message(batch, "gw-1", "gateway", "batch"),
        Message(senml),
        Message(b"[{", "wl-2"),
        Message(batch[:-3], "gw-1", "gateway", "batch"),
        Message(b"", None),
    ]

    def work() -> None:
        pipeline.fill(messages)
        pipeline.batch.seal()

    assert growth(work) < ALLOWED_BYTES


def test_a_pipeline_of_its_own_leaves_nothing_behind() -> None:
    def work() -> None:
        pipeline = Pipeline(make_index())
        pipeline.fill([Message(b'[{"n":"rain_mm","v":1,"vs":"x"}]'), Message(b'[{"n":"rain_mm","v":1}]')])
        pipeline.batch.seal()

    assert growth(work, 800) < ALLOWED_BYTES


def test_feeding_changing_and_restoring_an_index_leave_nothing_behind() -> None:
    response = pb.WatchDeviceIndexResponse(
        devices=[
            pb.IndexDevice(
                device_num=num,
                device_id=f"wl-{num}",
                type_num=1,
                ward_code=f"{num:05}",
                token_sha256=[sha256(b"%d" % n).digest() for n in range(num % 3)],
                external_id=f"plant/{num}" if num % 2 else "",
                is_active=True,
            )
            for num in range(1, 40)
        ]
    ).SerializeToString()

    def work() -> None:
        index, again = DeviceIndex(), DeviceIndex()
        for target in (index, again):
            target.put_metric(1, "rain_mm", "mm")
            target.put_type(1, "gauge", False, "batch", [(1, None, None)])
        for _ in range(2):
            index.begin_snapshot()
            stream = DeviceStream(response)
            while len(stream):
                stream.apply(index, 7)
            index.end_snapshot()
        restore(again, [memoryview(part) for part in parts_of(index)])
        again.begin_snapshot()
        again.end_snapshot()

    assert growth(work, 600) < ALLOWED_BYTES


def test_an_index_gives_its_pages_back() -> None:
    """They come from the system, not from malloc."""

    def work() -> None:
        index = DeviceIndex()
        for num in range(1, 2_001):
            index.put_device(num, f"device-{num}", 1, "", 0, [bytes(32)], True, f"x/{num}")

    for _ in range(5):
        work()
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(60):
        work()
    # One index of these is about 300 kB.
    assert process.memory_info().rss - before < 4_000_000


@pytest.mark.parametrize("version", [4, 5])
def test_connections_that_come_and_go_leave_nothing_behind(version: int) -> None:
    from tests.fuzz.mqtt import World
    from tests.support import mqtt_packets as mq

    world = World()
    packets = (
        mq.connect(version, b"c", b"wl-1", b"token-wl-1")
        + mq.subscribe(1, [(b"cf/v1/d/wl-1/commands", 1)], version=version)
        + mq.publish(b"cf/v1/d/wl-1/telemetry", b"x" * 300, 7, version=version)
    )

    def work() -> None:
        connection, _ = world.connection()
        world.feed(connection, packets[:-100])
        world.feed(connection, packets[-100:])
        world.feed(connection, packets[:30])
        world.settle()
        connection.connection_lost(None)
        refused, _ = world.connection()
        world.feed(refused, b"\x10\x05nope!")
        refused.connection_lost(None)
        lost, _ = world.connection()
        world.feed(lost, packets[:20])
        lost.connection_lost(None)

    assert growth(work, 2_000) < ALLOWED_BYTES
    world.close()


def test_marks_documents_and_requests_leave_nothing_behind() -> None:
    def work() -> None:
        states = DeviceStates(index, "node/0", 1, {}, 0)
        for slot in range(4):
            states.open(slot)
            states.read(slot, NOW_MS)
            states.document(slot, b'{"a":1}', NOW_MS)
            states.document(slot, b'{"a":2}', NOW_MS + 1)
            states.close(slot, 0)
        states.begin_round()
        states.next_request()
        states.document(0, b'{"a":3}', NOW_MS)

    index = make_index()
    assert growth(work, 800) < ALLOWED_BYTES
