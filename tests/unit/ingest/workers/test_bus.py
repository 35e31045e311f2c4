"""The bus: answers of all who are there, none of those who are not, and sockets that are nobody else's."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ingest.workers import bus as module
from ingest.workers.bus import Bus


class Number(msgspec.Struct, array_like=True):
    value: int
    text: bytes = b""


def bus_of(number: int, count: int, folder: Path) -> Bus:
    """Answers `double`; `never` takes for ever, `broken` fails."""
    bus = Bus(number, count, folder)

    async def double(worker: int, body: msgspec.Raw) -> Number:
        asked = msgspec.msgpack.decode(body, type=Number)
        return Number(asked.value * 2 + worker * 1000 + number * 100, asked.text)

    async def never(worker: int, body: msgspec.Raw) -> None:
        await asyncio.Event().wait()

    async def broken(worker: int, body: msgspec.Raw) -> None:
        raise ValueError("broken on purpose")

    bus.handlers |= {"double": double, "never": never, "broken": broken}
    return bus


@asynccontextmanager
async def buses(count: int, folder: Path) -> AsyncIterator[list[Bus]]:
    made = [bus_of(number, count, folder) for number in range(count)]
    try:
        for bus in made:
            await bus.start()
        yield made
    finally:
        for bus in made:
            await bus.close()


async def test_all_are_linked_both_ways_when_the_last_has_started(tmp_path):
    async with buses(4, tmp_path) as made:
        assert [sorted(bus.joined) for bus in made] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


async def test_everybody_answers(tmp_path):
    async with buses(3, tmp_path) as made:
        answers = await made[1].ask_all("double", Number(7), Number)
        assert sorted(answer.value for answer in answers) == [1014, 1214]


async def test_many_questions_at_once_get_their_own_answers(tmp_path):
    async with buses(2, tmp_path) as made:
        answers = await asyncio.gather(*(made[0].ask(1, "double", Number(i, b"x" * i), Number) for i in range(500)))
        assert [(answer.value, len(answer.text)) for answer in answers] == [(2 * i + 100, i) for i in range(500)]


async def test_large_bodies_come_whole(tmp_path):
    async with buses(2, tmp_path) as made:
        answer = await made[0].ask(1, "double", Number(1, b"x" * 5_000_000), Number)
        assert answer is not None
        assert len(answer.text) == 5_000_000


async def test_who_is_away_does_not_answer_and_comes_back(tmp_path):
    async with buses(2, tmp_path) as made:
        await made[1].close()
        async with asyncio.timeout(60):
            while made[0].joined:
                await asyncio.sleep(0.01)
        assert await made[0].ask_all("double", Number(1), Number) == []
        assert not made[0].tell(1, "double", Number(1))
        made[1] = bus_of(1, 2, tmp_path)
        await made[1].start()
        assert made[0].joined == [1]
        assert len(await made[0].ask_all("double", Number(1), Number)) == 1


async def test_a_question_ends_when_its_worker_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ASK_TIMEOUT_S", 600)
    async with buses(2, tmp_path) as made:
        asked = asyncio.create_task(made[0].ask(1, "never", Number(1), Number))
        await asyncio.sleep(0.05)
        await made[1].close()
        async with asyncio.timeout(60):
            assert await asked is None


async def test_a_question_does_not_wait_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ASK_TIMEOUT_S", 0.1)
    async with buses(2, tmp_path) as made:
        assert await made[0].ask(1, "never", Number(1), Number) is None
        assert await made[0].ask(1, "broken", Number(1), Number) is None
        assert made[0].counters["bus.unanswered"] == 2
        answer = await made[0].ask(1, "double", Number(1), Number)
        assert answer is not None


async def test_who_does_not_read_bounds_what_waits_for_him(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_QUEUE_BYTES", 100_000)
    async with buses(2, tmp_path) as made:
        told = [made[0].tell(1, "double", Number(1, b"x" * 50_000)) for _ in range(200)]  # without a turn of the loop
        assert not all(told)
        assert made[0].counters["bus.dropped"] == told.count(False)
        assert made[0].counters["bus.sent"] >= 2


async def test_noise_ends_its_own_connection_only(tmp_path):
    async with buses(2, tmp_path) as made:
        path = str(tmp_path / "run" / "ingest-1.bus")
        for noise in (b"\xff" * 100, b"\x00\x00\x00\x03abc", b"\x00\x00\x00\x00"):
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(noise)
            await writer.drain()
            writer.close()
        answer = await made[0].ask(1, "double", Number(1), Number)
        assert answer is not None


async def test_only_the_owner_may_connect(tmp_path):
    async with buses(2, tmp_path):
        mode = (tmp_path / "run" / "ingest-0.bus").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_a_data_folder_may_have_a_long_path(tmp_path):
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    async with buses(2, folder) as made:
        assert made[0].joined == [1]


async def test_a_socket_left_behind_is_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ingest-0.bus").write_text("left by kill -9")
    async with buses(2, tmp_path) as made:
        assert made[1].joined == [0]
