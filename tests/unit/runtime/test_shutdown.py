"""What runs is ended, be it told once or again."""

import asyncio

import structlog.testing

from runtime.shutdown import end_tasks


async def test_a_task_in_which_a_cancellation_was_swallowed_is_told_again() -> None:
    told = 0

    async def deaf() -> None:
        nonlocal told
        while told < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1

    tasks = [asyncio.create_task(deaf(), name="deaf"), asyncio.create_task(asyncio.Event().wait(), name="plain")]
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(60):
            await end_tasks(tasks, patience_s=0.01)
    assert told == 2
    assert all(task.done() for task in tasks)
    assert [(entry["event"], entry["name"]) for entry in logs] == [("task_goes_on", "deaf")]


async def test_a_task_that_has_failed_is_left_to_who_waits_for_it() -> None:
    async def fails() -> None:
        raise OSError("gone")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert isinstance(task.exception(), OSError)
