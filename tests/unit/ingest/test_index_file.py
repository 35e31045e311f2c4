"""The device index on disk: what is written is what is loaded, and what is damaged is ignored, never trusted."""

import random
from hashlib import sha256
from pathlib import Path

import pytest

from cityfleet.registry.v1 import device_index_pb2 as pb
from ext.telemetry.index import DeviceIndex
from ext.telemetry.index_image import parts_of, restore
from ingest.metrics import INDEX_FILE_IGNORED
from ingest.resolve.feed import IndexFeed
from ingest.resolve.index_file import IndexFile, IndexFileError

CATALOGUE = pb.WatchDeviceIndexResponse(
    metrics=[pb.IndexMetric(metric_num=1, metric="rain_mm", unit="mm")],
    types=[pb.IndexType(type_num=1, device_type="gateway", is_gateway=True, default_encoding="batch")],
    operators=[pb.IndexOperator(operator="desk", token_sha256=sha256(b"desk").digest(), is_active=True)],
).SerializeToString()


def filled() -> DeviceIndex:
    """Devices with one, two and no tokens, with and without an external id, one that lost its external id, one gone."""
    index = DeviceIndex()
    index.put_type(1, "gateway", True, "batch", [])
    for num in range(1, 200):
        tokens = [sha256(b"%d-%d" % (num, n)).digest() for n in range(num % 4)]
        external = f"plant/{num}" if num % 3 == 0 else ""
        index.put_device(num, f"wl-{num}", 1 + num % 2, f"{num % 7:05}", num % 5, tokens, num % 11 != 0, external)
    index.put_device(3, "wl-3", 1, "00070", 0, [sha256(b"3").digest()], True, "plant/6")
    return index


def facts(index: DeviceIndex) -> list[object]:
    return [index.device(slot) for slot in range(len(index))]


def feed_of(index: DeviceIndex, path: Path) -> IndexFeed:
    return IndexFeed(index, "127.0.0.1:1", "", lambda name: None, IndexFile(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ingest" / "index"


def test_what_is_loaded_is_what_was_saved(path: Path) -> None:
    index = filled()
    size = IndexFile(path).write("registry:17", CATALOGUE, parts_of(index))
    assert path.stat().st_size == size
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["index"]
    loaded = DeviceIndex()
    feed = feed_of(loaded, path)
    feed.load()
    assert feed.is_loaded
    assert feed.age.startswith("from disk, age ")
    assert len(loaded) == len(index) == 199
    # The type of odd devices is not in the catalogue: what it said of them is not kept.
    assert [fact["device_id"] for fact in facts(loaded)] == [fact["device_id"] for fact in facts(index)]
    even = range(1, 199, 2)
    assert [loaded.device(slot) for slot in even] == [index.device(slot) for slot in even]
    for num in range(1, 200):
        slot = index.find_device(f"wl-{num}")
        assert loaded.find_device(f"wl-{num}") == slot
        for n in range(4):
            token = b"%d-%d" % (num, n)
            assert loaded.authenticate(b"wl-%d" % num, token) == index.authenticate(b"wl-%d" % num, token)
        assert loaded.find_external_id(f"plant/{num}") == index.find_external_id(f"plant/{num}")
    assert loaded.authenticate(b"wl-3", b"3") == loaded.find_external_id("plant/6")
    assert loaded.authenticate_operator(b"desk", b"desk") is not None
    # And it can be changed like any other.
    loaded.put_device(3, "wl-3", 1, "00070", 0, [], True, "plant/9")
    loaded.put_device(500, "new", 1, "00071", 0, [], True, "plant/6")
    assert loaded.find_external_id("plant/6") == loaded.find_device("new")


def test_an_empty_index_can_be_saved_too(path: Path) -> None:
    IndexFile(path).write("registry:1", b"", parts_of(DeviceIndex()))
    feed = feed_of(index := DeviceIndex(), path)
    feed.load()
    assert feed.is_loaded
    assert len(index) == 0


def test_without_a_file_nothing_is_loaded(path: Path) -> None:
    feed = feed_of(DeviceIndex(), path)
    feed.load()
    assert (feed.is_loaded, feed.age) == (False, "")


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "other", "layout", "folder"])
def test_a_damaged_file_is_ignored_and_counted(path: Path, damage: str) -> None:
    IndexFile(path).write("registry:17", CATALOGUE, parts_of(filled()))
    data = bytearray(path.read_bytes())
    if damage == "empty":
        data.clear()
    elif damage == "cut":
        del data[-100:]
    elif damage == "bit":
        data[len(data) // 2] ^= 4
    elif damage == "other":
        data[:9] = b"something"
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    if damage == "layout":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ingest.resolve.index_file.LAYOUT", "0 little 16 16")
            IndexFile(path).write("registry:17", CATALOGUE, parts_of(filled()))
    elif damage != "folder":
        path.write_bytes(data)
    before = INDEX_FILE_IGNORED._value.get()
    feed = feed_of(index := DeviceIndex(), path)
    feed.load()
    assert (feed.is_loaded, len(index)) == (False, 0)
    assert INDEX_FILE_IGNORED._value.get() == before + 1


def test_every_bit_that_flips_is_noticed(path: Path) -> None:
    IndexFile(path).write("registry:17", CATALOGUE, parts_of(filled()))
    whole = path.read_bytes()
    for at in random.Random(1).sample(range(len(whole)), 200):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(IndexFileError):
            IndexFile(path).read()


def test_parts_that_do_not_fit_together_are_refused_and_leave_the_index_empty() -> None:
    """What a right checksum does not rule out: no part is believed about another."""
    good = [bytes(part) for part in parts_of(filled())]
    generator = random.Random(2)
    refused = 0
    for _ in range(2_000):
        parts = [bytearray(part) for part in good]
        for _ in range(generator.randint(1, 4)):
            part = parts[generator.randrange(len(parts))]
            if generator.random() < 0.2:
                del part[generator.randrange(len(part) + 1) :]
            elif part:
                part[generator.randrange(len(part))] = generator.randrange(256)
        index = DeviceIndex()
        try:
            restore(index, [memoryview(bytes(part)) for part in parts])
        except ValueError:
            refused += 1
            assert len(index) == 0
        else:
            assert len(facts(index)) == len(index)
    assert refused > 500


def test_only_an_index_without_devices_is_restored() -> None:
    index = filled()
    with pytest.raises(ValueError):
        restore(index, [memoryview(part) for part in parts_of(filled())])
