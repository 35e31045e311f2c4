"""The gate between sockets and disk."""

import asyncio

from ingest.transport.gate import Gate


def test_it_closes_above_the_limit_and_opens_at_half():
    events = []
    gate = Gate(100)
    gate.on_change(lambda: events.append("closed"), lambda: events.append("opened"))
    gate.take(100)
    assert gate.is_open
    gate.take(1)
    assert not gate.is_open
    gate.give_back(50)
    assert not gate.is_open
    gate.give_back(1)
    assert gate.is_open
    assert events == ["closed", "opened"]


async def test_held_shut_it_stays_closed_however_empty():
    gate = Gate(100)
    gate.shut(True)
    waiter = asyncio.create_task(gate.wait_open())
    gate.take(10)
    gate.give_back(10)
    await asyncio.sleep(0)
    assert not waiter.done()
    gate.shut(False)
    await waiter
