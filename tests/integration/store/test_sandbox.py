"""The kernel's fence holds even for statements that nobody has looked at."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import pytest

from store.embedded import sandbox
from tests.support.store import running_store

_PROGRAM = """
import sys
from pathlib import Path
import runtime, store
from store.embedded import sandbox
from store.embedded.engine import Engine
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
try:
    print("landlock", sandbox.confine([folder], ("store", "runtime")))
except sandbox.SandboxError as exc:
    print("none", exc)
    sys.exit()
engine = Engine(folder, 2)
engine.ask("CREATE DATABASE cityfleet")
engine.ask("CREATE TABLE cityfleet.t (a UInt64) ENGINE = MergeTree ORDER BY a")
engine.ask("INSERT INTO cityfleet.t SELECT number FROM numbers(100000)")
print("sum", engine.ask("SELECT sum(a) FROM cityfleet.t"))
for path in (sys.argv[2], "/etc/passwd", "/proc/self/environ", "/proc/self/cmdline"):
    try:
        print("READ", path, engine.ask(f"SELECT file('{path}')"))
    except Exception as exc:
        print("refused", path, type(exc).__name__)
try:
    engine.ask(f"SELECT 1 INTO OUTFILE '{sys.argv[2]}.out'")
    print("WROTE")
except Exception as exc:
    print("refused to write")
import socket, subprocess
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2)
    print("CONNECTED")
except PermissionError:
    print("refused to connect")
try:
    subprocess.run(["/bin/true"])
    print("EXECUTED")
except PermissionError:
    print("refused to execute")
engine.close()
"""

_THREADS = """
import os, sys
from pathlib import Path
import runtime, store
from store.embedded import sandbox
from store.embedded.engine import Engine
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
try:
    sandbox.confine([folder], ("store", "runtime"))
except sandbox.SandboxError as exc:
    print("none", exc)
    sys.exit()
print("own", os.environ["PASSWORD"], os.getenv("PASSWORD"))
engine = Engine(folder, 2)
engine.ask("SELECT sum(number) FROM numbers_mt(10000000) SETTINGS max_threads = 2")
print("refused", engine.ask("SELECT sum(value) FROM system.errors WHERE name = 'CANNOT_OPEN_FILE'"))
for task in ("/proc/thread-self", f"/proc/self/task/{os.getpid()}"):
    print("environment", Path(task, "environ").read_bytes().replace(bytes(1), b"").decode())
    for name in ("fd/0", "root/etc/passwd", "cwd/pyproject.toml"):
        try:
            print("READ", name, Path(task, name).read_bytes())
        except PermissionError:
            pass
engine.close()
"""


def run_fenced(program: str, *arguments: str, stdin: TextIO | None = None, **environ: str) -> list[str]:
    """The lines that it prints; skips where the kernel has no fence."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdin=stdin,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    lines = done.stdout.splitlines()
    if lines and lines[0].startswith("none"):
        pytest.skip(f"this kernel has no Landlock: {lines[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return lines


def test_the_engine_cannot_read_write_connect_or_execute_outside(tmp_path: Path) -> None:
    import socket

    secret = tmp_path / "secret"
    secret.write_text("marker")
    with socket.create_server(("127.0.0.1", 0)) as server:
        lines = run_fenced(_PROGRAM, str(tmp_path / "data"), str(secret), str(server.getsockname()[1]))
    assert "sum 4999950000" in lines
    assert "refused to write" in lines
    assert "refused to execute" in lines
    if int(lines[0].split()[1]) >= 4:
        assert "refused to connect" in lines
    assert not [line for line in lines if line.split()[0] in ("READ", "WROTE", "CONNECTED", "EXECUTED")]
    assert not (tmp_path / "secret.out").exists()


def test_what_a_thread_has_below_proc_is_open_to_the_engine_and_tells_nothing(tmp_path: Path) -> None:
    """Its counters are there, and a refusal is an exception for each thread of each query."""
    with Path(__file__).open() as outside:
        lines = run_fenced(_THREADS, str(tmp_path / "data"), stdin=outside, PASSWORD="marker")
    assert lines == ["own marker marker", "refused 0", "environment ", "environment "]


def test_the_role_fences_itself_in(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        assert '"event": "sandbox"' in store.log() or '"event": "sandbox_unavailable"' in store.log()
        assert store.query("SELECT 1") == "1\n"


def test_confine_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CREATE_RULESET", 100_000)  # no such system call
    with pytest.raises(sandbox.SandboxError, match="not implemented"):
        sandbox.confine([], [])
