"""Pipes: bounded, closed by their writer, read to the end."""

import asyncio

import pytest

from runtime.pipe import Pipe


async def test_a_full_pipe_makes_its_writer_wait():
    pipe: Pipe[int] = Pipe(1)
    await pipe.put(1)
    writer = asyncio.create_task(pipe.put(2))
    await asyncio.sleep(0)
    assert not writer.done()
    assert await pipe.get() == 1
    await writer
    assert await pipe.get() == 2


async def test_a_closed_pipe_is_read_to_the_end():
    pipe: Pipe[int] = Pipe(4)
    pipe.put_nowait(1)
    pipe.put_nowait(2)
    pipe.close()
    assert [chunk async for chunk in pipe] == [1, 2]
    assert pipe.is_ended
    with pytest.raises(RuntimeError):
        pipe.put_nowait(3)


async def test_closing_wakes_a_waiting_reader_and_a_waiting_writer():
    pipe: Pipe[int] = Pipe(1)
    reader = asyncio.create_task(pipe.get())
    await asyncio.sleep(0)
    pipe.close()
    assert await reader is None
    full: Pipe[int] = Pipe(1)
    full.put_nowait(1)
    writer = asyncio.create_task(full.put(2))
    await asyncio.sleep(0)
    full.close()
    with pytest.raises(RuntimeError):
        await writer


async def test_a_cancelled_get_loses_no_chunk():
    pipe: Pipe[int] = Pipe(1)
    for number in range(50):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await pipe.get()
        pipe.put_nowait(number)
        assert await pipe.get() == number
