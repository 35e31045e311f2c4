"""State documents on disk: what was kept is told by the next run, damage costs its record, the file stays bounded."""

import errno
from concurrent.futures import ThreadPoolExecutor

import pytest

from ext.telemetry.device_states import ENDS, DeviceStates
from ext.telemetry.index import DeviceIndex
from ingest.state import documents as module
from ingest.state.documents import DocumentFile, DocumentKeeper, decode, encode

NOW_MS = 1_790_000_000_000
DOCUMENTS = [(7, b'{"a":1}', NOW_MS), (8, b"{}", NOW_MS + 1), (7, b'{"a":"' + b"x" * 16_000 + b'"}', 0)]


def make_states() -> DeviceStates:
    """Slot n is device number n; slot 0 is 99."""
    index = DeviceIndex()
    index.put_type(1, "gauge", False, "json", [])
    for slot in range(4):
        index.put_device(slot or 99, f"d-{slot}", 1, "", 0, [], True)
    return DeviceStates(index, "node/0", 1, ENDS, 0)


@pytest.fixture
def disk():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_what_is_written_is_read() -> None:
    assert decode(encode(DOCUMENTS)) == (DOCUMENTS, 0)
    assert decode(b"") == ([], 0)


def test_damage_costs_its_record_and_no_other() -> None:
    data = encode(DOCUMENTS)
    first = len(encode(DOCUMENTS[:1]))
    for at in range(first):
        for bit in (1, 128):
            found, strange = decode(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            assert (found, strange) == (DOCUMENTS[1:], first)
    assert decode(b"rubbish" + data) == (DOCUMENTS, 7)


def test_a_record_that_was_being_written_is_left_out() -> None:
    data = encode(DOCUMENTS[:2])
    first = len(encode(DOCUMENTS[:1]))
    for end in range(first, len(data)):
        assert decode(data[:end])[0] == DOCUMENTS[:1]


def test_records_are_appended_and_replaced(tmp_path) -> None:
    file = DocumentFile(tmp_path / "ingest" / "documents.log")
    assert file.read() == []
    file.append(DOCUMENTS[:1])
    file.append(DOCUMENTS[1:])
    assert DocumentFile(tmp_path / "ingest" / "documents.log").read() == DOCUMENTS
    file.replace(DOCUMENTS[1:2])
    file.append(DOCUMENTS[:1])
    assert file.read() == [DOCUMENTS[1], DOCUMENTS[0]]
    file.replace([])
    assert list((tmp_path / "ingest").iterdir()) == []
    file.append(DOCUMENTS[:1])
    assert file.read() == DOCUMENTS[:1]


async def test_what_was_kept_and_not_answered_is_told_by_the_next_run(tmp_path, disk) -> None:
    path = tmp_path / "documents.log"
    states = make_states()
    keeper = DocumentKeeper(states, path)
    keeper.load()
    states.document(1, b'{"a":1}', NOW_MS)
    await keeper.keep(disk)
    states.document(2, b'{"b":1}', NOW_MS)
    await keeper.keep(disk)
    states.document(2, b'{"b":2}', NOW_MS + 1)
    await keeper.keep(disk)
    states.document(3, b'{"never":"acknowledged"}', NOW_MS)

    again = make_states()
    DocumentKeeper(again, path).load()
    expected = [(1, b'{"a":1}', NOW_MS), (2, b'{"b":2}', NOW_MS + 1)]
    assert sorted(again.untold()) == expected
    assert again.left
    assert sorted(DocumentFile(path).read()) == expected


async def test_at_the_end_the_file_has_what_was_not_told_and_goes_when_that_is_nothing(tmp_path, disk) -> None:
    path = tmp_path / "documents.log"
    states = make_states()
    keeper = DocumentKeeper(states, path)
    for slot in (1, 2):
        states.document(slot, b"{}", NOW_MS)
    await keeper.keep(disk)
    keeper.close()
    assert len(DocumentFile(path).read()) == 2
    states.begin_round()
    states.next_request()
    states.document(2, b'{"b":2}', NOW_MS + 1)
    states.answered()
    keeper.close()
    assert DocumentFile(path).read() == [(2, b'{"b":2}', NOW_MS + 1)]
    states.begin_round()
    states.next_request()
    states.answered()
    keeper.close()
    assert not path.exists()


async def test_nothing_is_written_where_nothing_is_new(tmp_path, disk) -> None:
    keeper = DocumentKeeper(make_states(), tmp_path / "documents.log")
    keeper.load()
    await keeper.keep(disk)
    assert list(tmp_path.iterdir()) == []


async def test_the_file_stays_within_twice_what_waits(tmp_path, disk, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SMALL_BYTES", 10_000)
    path = tmp_path / "documents.log"
    states = make_states()
    keeper = DocumentKeeper(states, path)
    text = b'{"x":"' + b"y" * 1000 + b'"}'
    for number in range(200):
        states.document(1 + number % 3, text, NOW_MS + number)
        await keeper.keep(disk)
        assert path.stat().st_size <= 10_000 + 2 * 3 * 1300 + 1100
    assert sorted(at for at, _, _ in states.untold()) == [1, 2, 3]
    found = {num: at_ms for num, _, at_ms in DocumentFile(path).read()}
    assert found == {num: at_ms for num, _, at_ms in states.untold()}


@pytest.mark.parametrize("fails", ["write_all", "fdatasync"])
async def test_after_a_failure_all_that_waits_is_written_anew(tmp_path, disk, monkeypatch, fails) -> None:
    path = tmp_path / "documents.log"
    states = make_states()
    keeper = DocumentKeeper(states, path)
    states.document(1, b'{"a":1}', NOW_MS)
    await keeper.keep(disk)
    states.document(2, b'{"b":1}', NOW_MS)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(module if fails == "write_all" else module.os, fails, refuse)
        with pytest.raises(OSError, match="no room"):
            await keeper.keep(disk)
    await keeper.keep(disk)  # though nothing came since
    assert sorted(DocumentFile(path).read()) == sorted(states.untold())
    assert [num for num, _, _ in sorted(DocumentFile(path).read())] == [1, 2]


def test_what_workers_left_that_are_no_more_is_taken_over(tmp_path) -> None:
    own, other = tmp_path / "documents.log", tmp_path / "documents-3.log"
    DocumentFile(own).append([(1, b'{"own":1}', NOW_MS)])
    DocumentFile(other).append([(1, b'{"newer":1}', NOW_MS + 1), (2, b"{}", NOW_MS)])
    states = make_states()
    DocumentKeeper(states, own, [other]).load()
    assert sorted(states.untold()) == [(1, b'{"newer":1}', NOW_MS + 1), (2, b"{}", NOW_MS)]
    assert sorted(DocumentFile(own).read()) == sorted(states.untold())
    assert not other.exists()


def test_a_file_that_cannot_be_read_keeps_nobody_from_starting(tmp_path) -> None:
    (tmp_path / "documents.log").mkdir()
    states = make_states()
    DocumentKeeper(states, tmp_path / "documents.log").load()
    assert states.untold() == []
    assert (tmp_path / "documents.log.unread").is_dir()
