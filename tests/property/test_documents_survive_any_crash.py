"""State documents whose process stops after any system call, or loses power there: what was acknowledged is told."""

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cityfleet.registry.v1.device_state_pb2 import ReportDeviceStatesRequest
from ext.telemetry.device_states import ENDS, DeviceStates
from ext.telemetry.index import DeviceIndex
from ingest.state import documents as module
from ingest.state.documents import DocumentKeeper
from tests.support.crashing_disk import CrashError, CrashingDisk

DEVICES = 4
STEPS = 30


@pytest.fixture(autouse=True)
def _written_anew_often(monkeypatch):
    monkeypatch.setattr(module, "_SMALL_BYTES", 500)


class Life:
    """What devices were told is safe and what the registry has, through any number of crashes: times by device."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = {}
        self.known: dict[int, int] = {}
        self.now_ms = 1_790_000_000_000

    def states(self) -> DeviceStates:
        index = DeviceIndex()
        index.put_type(1, "gauge", False, "json", [])
        for slot in range(DEVICES):
            index.put_device(slot + 1, f"d-{slot}", 1, "", 0, [], True)
        return DeviceStates(index, "node/0", 1, ENDS, 0)

    def tell(self, states: DeviceStates) -> None:
        states.begin_round()
        while states.left:
            for report in ReportDeviceStatesRequest.FromString(states.next_request()).reports:
                if report.document:
                    self.known[report.device_num] = max(self.known.get(report.device_num, 0), report.document_ms)
            states.answered()

    async def run(self, path: Path, chance: random.Random) -> None:
        states = self.states()
        keeper = DocumentKeeper(states, path)
        with ThreadPoolExecutor(1) as disk:
            keeper.load()
            for _ in range(STEPS):
                came = {}
                for _ in range(chance.choice((1, 1, 3))):
                    self.now_ms += 1
                    device = chance.randrange(DEVICES)
                    states.document(device, b"{" + b" " * chance.choice((0, 700)) + b"}", self.now_ms)
                    came[device + 1] = self.now_ms
                if chance.random() < 0.2:
                    self.tell(states)
                await keeper.keep(disk)
                self.acknowledged |= came
                if chance.random() < 0.1:
                    keeper.close()

    def check(self, path: Path) -> None:
        states = self.states()
        DocumentKeeper(states, path).load()
        self.tell(states)
        for device, at_ms in self.acknowledged.items():
            assert self.known.get(device, 0) >= at_ms


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power-lost"])
@pytest.mark.parametrize("seed", range(3))
def test_after_a_stop_behind_any_call_no_acknowledged_document_is_missing(tmp_path, monkeypatch, power, seed):
    stop_at = 0
    while True:
        folder = tmp_path / f"{stop_at}"
        folder.mkdir()
        path = folder / "documents.log"
        life = Life()
        with monkeypatch.context() as patch:
            disk = CrashingDisk(folder, patch)
            disk.stop_at = stop_at
            try:
                asyncio.run(life.run(path, random.Random(seed)))
                is_whole = True
            except CrashError:
                is_whole = False
            if power:
                disk.lose_power(random.Random(seed + stop_at))
            else:
                disk.restart()
            life.check(path)
        if is_whole:
            return
        stop_at += 1
