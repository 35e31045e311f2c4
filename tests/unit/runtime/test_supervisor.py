"""The supervisor: order of start and stop, restart of what dies, errors that end everything."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from runtime import runfile
from runtime.supervisor import Role, RoleFailedError, Supervisor

ROOT = Path(__file__).parents[3]

ROLE = """
import signal, sys, time
from pathlib import Path
from runtime import runfile
from runtime.supervisor import die_with_parent
die_with_parent()
name, folder = sys.argv[1], Path(sys.argv[2])
def leave(*_):
    with (folder / "events").open("a") as events:
        events.write(f"stop {name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
with (folder / "events").open("a") as events:
    events.write(f"start {name}\\n")
runfile.announce(folder, name, {"http": name})
while True:
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def role(name, folder, code=ROLE, stop_s=5.0):
    return Role(name, [sys.executable, "-c", code, name, str(folder)], stop_s)


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_roles_start_in_order_and_stop_in_reverse(tmp_path):
    stop = asyncio.Event()
    seen = []
    supervisor = Supervisor(
        [role("one", tmp_path), role("two", tmp_path)], tmp_path, lambda name, addresses: seen.append((name, addresses))
    )
    task = asyncio.create_task(supervisor.run(stop))
    await until(lambda: len(seen) == 2)
    stop.set()
    await task
    assert seen == [("one", {"http": "one"}), ("two", {"http": "two"})]
    assert (tmp_path / "events").read_text().split("\n")[:-1] == ["start one", "start two", "stop two", "stop one"]


async def test_a_killed_role_is_started_again(tmp_path):
    stop = asyncio.Event()
    seen = []
    task = asyncio.create_task(
        Supervisor([role("one", tmp_path)], tmp_path, lambda *event: seen.append(event)).run(stop)
    )
    await until(lambda: len(seen) == 1)
    first = runfile.read(tmp_path, "one").pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(seen) == 2)
    assert runfile.read(tmp_path, "one").pid != first
    stop.set()
    await task


async def test_a_role_that_cannot_start_stops_the_others(tmp_path):
    bad = role("two", tmp_path, "import sys; sys.exit(2)")
    with pytest.raises(RoleFailedError, match="two could not start"):
        await Supervisor([role("one", tmp_path), bad], tmp_path, lambda *_: None).run(asyncio.Event())
    assert "stop one" in (tmp_path / "events").read_text()


async def test_a_role_that_ignores_sigterm_is_killed(tmp_path):
    stubborn = ROLE.replace("signal.signal(signal.SIGTERM, leave)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    stop = asyncio.Event()
    seen = []
    task = asyncio.create_task(
        Supervisor([role("one", tmp_path, stubborn, 0.3)], tmp_path, lambda *event: seen.append(event)).run(stop)
    )
    await until(lambda: seen)
    stop.set()
    await task
    assert runfile.read(tmp_path, "one") is None


async def test_roles_leave_when_the_supervisor_is_killed(tmp_path):
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from runtime.supervisor import Role, Supervisor
folder = Path(sys.argv[1])
role = Role("one", [sys.executable, "-c", {ROLE!r}, "one", str(folder)], 5)
asyncio.run(Supervisor([role], folder, lambda *_: None).run(asyncio.Event()))
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path))
    await until(lambda: runfile.read(tmp_path, "one"))
    child = runfile.read(tmp_path, "one").pid
    parent.kill()
    await parent.wait()
    await until(lambda: "stop one" in (tmp_path / "events").read_text())
    await until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())
