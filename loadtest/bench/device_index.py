"""The device index with a million devices: memory, lookups, changes, the event loop's longest wait, the file on disk.

`python -m loadtest.bench.device_index` prints a table, then one line of JSON for each figure. The baseline is a dict of
tuples, filled through the protobuf runtime and kept on disk by pickle; it runs in the same rounds.
"""

import asyncio
import gc
import json
import pickle
import random
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_feed import DeviceStream
from ext.telemetry.index_image import parts_of, restore

ROUNDS = 3
DEVICES = 1_000_000
A_RESPONSE = 5_000
# As ingest's feed does it: so many devices, then the loop has its turn.
A_SLICE = 500
_IDS = {
    "index_device_bytes": ("bytes", "memory of a device beside its id, by resident pages"),
    "index_lookup_ns": ("ns", "lookup by id, random order, side by side as resolve does"),
    "index_single_lookup_ns": ("ns", "lookup by id, random order, one after the other"),
    "index_apply_us": ("us", "CPU of applying a device from the bytes of a watch response"),
    "index_stall_ms": ("ms", "longest that the event loop was busy at a stretch meanwhile, CPU"),
    "index_load_s": ("s", "CPU of reading the file at start"),
}

Record = tuple[int, int, int, str, tuple[bytes, ...]]
Figures = dict[str, float]


def device_ids(devices: int) -> list[str]:
    return [f"wl-{number * 7919 % 1_000_003:07d}-{number % 97:02d}" for number in range(1, devices + 1)]


def responses(names: list[str]) -> list[bytes]:
    """A snapshot as the registry sends it."""
    whole = []
    for start in range(0, len(names), A_RESPONSE):
        response = pb.WatchDeviceIndexResponse(phase=pb.WatchDeviceIndexResponse.PHASE_SNAPSHOT)
        response.is_first_of_snapshot = start == 0
        for number, name in enumerate(names[start : start + A_RESPONSE], start + 1):
            response.devices.add(
                device_num=number,
                device_id=name,
                type_num=1,
                ward_code=f"{number % 126:05}",
                gateway_num=number // 100,
                token_sha256=[sha256(name.encode()).digest()],
                is_active=True,
            )
        whole.append(response.SerializeToString())
    return whole


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def _best_of(work: Callable[[], Any], times: int = 3) -> float:
    """Seconds of CPU: the machine is shared, and the least is the least disturbed."""
    found = []
    for _ in range(times):
        started = time.thread_time()
        work()
        found.append(time.thread_time() - started)
    return min(found)


class Watched:
    """A task beside the feed that notes how long the loop's thread worked until its turn came.

    By the thread's own clock: what other processes take on a shared machine is not the feed's doing.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest_s = max(self.longest_s, now - last)
            last = now


def _empty() -> DeviceIndex:
    index = DeviceIndex()
    index.put_type(1, "gauge", False, "batch", [])
    index.begin_snapshot()
    return index


async def _apply(index: DeviceIndex, snapshot: list[bytes]) -> None:
    for response in snapshot:
        devices = DeviceStream(response)
        pb.WatchDeviceIndexResponse.FromString(devices.rest)
        while len(devices):
            devices.apply(index, A_SLICE)
            await asyncio.sleep(0)
    index.end_snapshot()


async def _apply_watched(index: DeviceIndex, snapshot: list[bytes]) -> float:
    watched = Watched()
    beside = asyncio.create_task(watched.run())
    await _apply(index, snapshot)
    beside.cancel()
    return watched.longest_s


def _apply_s(snapshot: list[bytes]) -> float:
    index = _empty()
    started = time.thread_time()
    asyncio.run(_apply(index, snapshot))
    return time.thread_time() - started


def _load_s(index: DeviceIndex, path: Path) -> float:
    """Save, then load as ingest does: read the file, check it, restore."""
    parts = [bytes(part) for part in parts_of(index)]
    path.write_bytes(b"".join(parts))
    sizes = [len(part) for part in parts]
    again = DeviceIndex()
    started = time.thread_time()
    data = memoryview(path.read_bytes())
    zlib.crc32(data)
    views, at = [], 0
    for size in sizes:
        views.append(data[at : at + size])
        at += size
    restore(again, views)
    taken_s = time.thread_time() - started
    if len(again) != len(index):
        raise RuntimeError("not all devices were restored")
    return taken_s


def ours(snapshot: list[bytes], packed: bytes, id_bytes: int, folder: Path) -> Figures:
    """One round."""
    before = _resident()
    index = _empty()
    stall_s = asyncio.run(_apply_watched(index, snapshot))
    memory = _resident() - before
    devices = len(index)
    if index.count_known(packed, True) != devices:
        raise RuntimeError("a device was not found")
    return {
        "index_device_bytes": (memory - id_bytes) / devices,
        "index_lookup_ns": _best_of(lambda: index.count_known(packed, True)) / devices * 1e9,
        "index_single_lookup_ns": _best_of(lambda: index.count_known(packed, False)) / devices * 1e9,
        "index_apply_us": _apply_s(snapshot) / devices * 1e6,
        "index_stall_ms": stall_s * 1e3,
        "index_load_s": _load_s(index, folder / "index"),
    }


def baseline(snapshot: list[bytes], order: list[str], id_bytes: int, folder: Path) -> Figures:
    """The same figures of a dict; its longest wait is that of one response, applied as a whole."""
    before = _resident()
    known: dict[str, Record] = {}
    longest = 0.0
    started = time.thread_time()
    for response in snapshot:
        began = time.thread_time()
        for device in pb.WatchDeviceIndexResponse.FromString(response).devices:
            known[device.device_id] = (
                device.device_num,
                device.gateway_num,
                device.type_num,
                device.ward_code,
                tuple(device.token_sha256),
            )
        longest = max(longest, time.thread_time() - began)
    apply_s = time.thread_time() - started
    memory = _resident() - before
    get = known.get

    def look_up() -> None:
        for name in order:
            get(name)

    def nothing() -> None:
        for _ in order:
            pass

    lookup_s = _best_of(look_up) - _best_of(nothing)
    path = folder / "pickle"
    path.write_bytes(pickle.dumps(known, pickle.HIGHEST_PROTOCOL))
    devices = len(known)
    del known
    began = time.thread_time()
    pickle.loads(path.read_bytes())  # noqa: S301 (our own, of a moment ago)
    load_s = time.thread_time() - began
    lookup_ns = lookup_s / devices * 1e9
    return {
        "index_device_bytes": (memory - id_bytes) / devices,
        "index_lookup_ns": lookup_ns,
        "index_single_lookup_ns": lookup_ns,
        "index_apply_us": apply_s / devices * 1e6,
        "index_stall_ms": longest * 1e3,
        "index_load_s": load_s,
    }


def run(rounds: int = ROUNDS, devices: int = DEVICES) -> list[dict[str, Any]]:
    """Lines of build/bench.json, the least is best everywhere; `ratio` says how many times the baseline is more."""
    names = device_ids(devices)
    snapshot = responses(names)
    id_bytes = sum(map(len, names))
    random.Random(1).shuffle(names)
    packed = b"".join(bytes([len(name)]) + name.encode() for name in names)
    found: list[Figures] = []
    beside: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            found.append(ours(snapshot, packed, id_bytes, Path(folder)))
            beside.append(baseline(snapshot, names, id_bytes, Path(folder)))
    lines = []
    for id_, (unit, _) in _IDS.items():
        runs = [figures[id_] for figures in found]
        value, other = statistics.median(runs), statistics.median(figures[id_] for figures in beside)
        lines.append(
            {
                "id": id_,
                "value": value,
                "unit": unit,
                "baseline": other,
                "ratio": other / value,
                "runs": runs,
                "spread": (max(runs) - min(runs)) / value,
            }
        )
    return lines


def main() -> None:
    for line in run():
        what = _IDS[line["id"]][1]
        print(f"{what:74}{line['value']:>9.3g} {line['unit']:6} dict {line['baseline']:>8.3g}   {line['spread']:.0%}")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
