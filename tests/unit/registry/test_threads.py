"""Threads that work for coroutines: results and errors come back, and what nobody waits for is not begun."""

import asyncio
import threading

import pytest

from registry.db.threads import Threads


@pytest.fixture
def one():
    threads = Threads(1, "test")
    yield threads
    threads.shutdown()


async def test_what_work_returns_or_raises_comes_back(one):
    def fail():
        raise LookupError("of the work")

    assert await one.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(LookupError, match="of the work"):
        await one.run(fail)
    assert await one.run(lambda: 7) == 7


async def test_several_work_at_the_same_time():
    threads, both = Threads(2, "test"), threading.Barrier(2, timeout=60)
    try:
        assert sorted(await asyncio.gather(threads.run(both.wait), threads.run(both.wait))) == [0, 1]
    finally:
        threads.shutdown()


async def test_work_that_nobody_waits_for_is_not_begun(one):
    held, begun = threading.Event(), []
    first = one.run(lambda: held.wait(30))
    given_up = one.run(lambda: begun.append("given up"))
    given_up.cancel()
    held.set()
    assert await first
    await one.run(lambda: begun.append("next"))
    assert begun == ["next"]


async def test_who_gives_up_while_it_is_done_hears_nothing_more(one):
    held, started = threading.Event(), threading.Event()

    def work():
        started.set()
        return held.wait(30)

    running = one.run(work)
    await asyncio.to_thread(started.wait, 30)
    running.cancel()
    held.set()
    assert await one.run(lambda: "next") == "next"
    assert running.cancelled()


async def test_what_is_waiting_is_done_before_the_end():
    threads, done = Threads(1, "test"), []
    held = threading.Event()
    futures = [threads.run(lambda: held.wait(30)), *(threads.run(lambda at=at: done.append(at)) for at in range(3))]
    held.set()
    await asyncio.to_thread(threads.shutdown)
    await asyncio.gather(*futures)
    assert done == [0, 1, 2]
