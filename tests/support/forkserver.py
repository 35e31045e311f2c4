"""Processes of `python -m cli.main`, or of a benchmark, that need no second for their imports: forks of one with all.

`subprocess.Popen` of that command (so `run`, and asyncio's) is answered by a server that has imported everything and
forks twice: the grandchild, an orphan at once, becomes the child of whoever asked, who signals it and waits for it as
ever. A process so made starts its own by a plain fork. What a fork cannot do as an exec does it (a shim of LD_PRELOAD,
a terminal, another user) is executed; within `executed()` all is: for tests of memory and of command lines. A store
that begins with nothing begins with a copy that has its schema already.
"""

import array
import asyncio
import atexit
import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tests.support import store_template

ROOT = Path(__file__).parents[2]
_PLACES = [str(ROOT), str(ROOT / "proto" / "gen")]
_MODULES = ("cli.main", "loadtest.bench.")
# Whole roles and every command, but not chdb: it starts threads.
_ROLES = ("registry.app", "store.app", "ingest.app", "ingest.workers", "share.app")
# What clickhouse-connect imports at its first insert, where it is there.
_OTHERS = ("pandas", "pyarrow")
_LONGEST = 1 << 17
_PR_SET_CHILD_SUBREAPER = 36
_execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_lock = threading.Lock()
_server: socket.socket | None = None
_is_forked = False
_is_off = False
_template = ""
_closing = contextlib.ExitStack()


def install() -> None:
    """From now on in this process."""
    subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]


def close() -> None:
    """No more processes; nothing is left of the server and of the template."""
    _closing.close()


@contextlib.contextmanager
def executed() -> Iterator[None]:
    """Within it every process is executed."""
    global _is_off
    before, _is_off = _is_off, True
    try:
        yield
    finally:
        _is_off = before


def _execute_child(
    self: Any,
    args: Any,
    executable: Any,
    preexec_fn: Any,
    close_fds: bool,
    pass_fds: Any,
    cwd: Any,
    env: Any,
    *rest: Any,
) -> None:
    """Takes the place of the method of CPython 3.11, with its arguments."""
    _, _, shell, *pipes = rest[:9]
    _, gid, gids, uid, umask, is_leader, group = rest[9:]
    fds = [given if given != -1 else number for number, given in enumerate((pipes[0], pipes[3], pipes[5]))]
    is_plain = close_fds and not (executable or preexec_fn or pass_fds or shell)
    is_own_user = (gid, gids, uid, umask, group) == (None, None, None, -1, -1)
    if _is_off or not (is_plain and is_own_user and _is_ours(args) and _is_like_ours(env)) or any(map(os.isatty, fds)):
        _execute(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest)
        return
    _, _, module, *arguments = map(os.fspath, args)
    task = {
        "module": module,
        "arguments": arguments,
        "template": _template_for(module, arguments),
        "environment": dict(os.environ if env is None else env),
        "folder": os.fspath(cwd) if cwd is not None else str(Path.cwd()),
        "is_leader": bool(is_leader),
    }
    try:
        if not Path(task["folder"]).is_dir():
            raise FileNotFoundError(task["folder"])
        self.pid = _fork(task, fds) if _is_forked else _ask(task, fds)
        self._child_created = True
    finally:
        self._close_pipe_fds(*pipes)


def _is_ours(args: Any) -> bool:
    if isinstance(args, str | bytes | os.PathLike) or [*args[:2]] != [sys.executable, "-m"]:
        return False
    if not str(args[2]).startswith(_MODULES):
        return False
    # In one of ours: a thread may hold a lock just now, unless all it does is to wait for a child.
    waiting = sum("waitpid" in thread.name for thread in threading.enumerate())
    return not _is_forked or len([*Path("/proc/self/task").iterdir()]) <= 1 + waiting


def _is_like_ours(env: Mapping[str, str] | None) -> bool:
    """Nothing differs that an interpreter or a library reads when it starts."""
    if env is None:
        return not _is_forked or _is_like_ours(os.environ)

    def kept(given: Mapping[str, str]) -> dict[str, str]:
        ignored = ("CITYFLEET_", "PYTEST_")
        return {key: value for key, value in given.items() if key != "PYTHONPATH" and not key.startswith(ignored)}

    return kept(os.environ) == kept(env) and env.get("PYTHONPATH", "").split(os.pathsep)[:2] == _PLACES


def _template_for(module: str, arguments: Sequence[str]) -> str:
    """The folder that a store of this command may begin with; empty for none."""
    global _template
    starts_store = module != "cli.main" or arguments[:1] in (["store"], ["up"])
    if starts_store and not (_template or _is_forked):
        with executed():
            _template = str(_closing.enter_context(store_template.made()))
    return _template


def _ask(task: dict[str, Any], fds: Sequence[int]) -> int:
    """The pid of a new child of ours."""
    global _server
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    with _lock:
        if _server is None:
            _server = _start()
        # Only for this moment: the orphans of others are not for us to wait for.
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        try:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
            _server.sendmsg([json.dumps(task).encode()], [rights])
            answer = _server.recv(100)
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0)
    if int(answer or -1) < 0:
        raise OSError("the server of processes, or what it was to make, is gone")
    return int(answer)


def _start() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys; from tests.support.forkserver import serve; serve(int(sys.argv[1]))"]
            + [str(theirs.fileno())],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(_PLACES)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what looks for a terminal when it is imported finds none
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    said = ours.recv(_LONGEST)
    _closing.callback(process.wait, 10)
    _closing.callback(ours.close)
    if said != b"ready":
        raise OSError(f"the server of processes did not start: {said.decode()}")
    return ours


def serve(number: int) -> NoReturn:
    """The server's whole life, on this descriptor of a socket."""
    asked = socket.socket(fileno=number)
    try:
        install()
        from cli.main import COMMANDS, main

        for name in (*_ROLES, *(place.partition(":")[0] for place in COMMANDS.values())):
            importlib.import_module(name)
        for name in _OTHERS:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        sys.argv = ["cityfleet", "device", "count", "--help"]
        with contextlib.suppress(SystemExit):
            main()  # what a command line and its pages of help import
    except BaseException:
        asked.send(traceback.format_exc().encode()[-_LONGEST:])
        os._exit(1)
    gc.collect()
    gc.freeze()  # what is not looked at by the collector stays shared
    asked.send(b"ready")
    while True:
        message, fds, _, _ = socket.recv_fds(asked, _LONGEST, 3)
        if not message:
            os._exit(0)
        told, tells = os.pipe()
        middle = os.fork()
        if not middle:
            parent = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == parent:
                time.sleep(0.0002)
            asked.detach()
            _become(json.loads(message), fds, tells)
        for fd in (*fds, tells):
            os.close(fd)
        os.waitpid(middle, 0)
        asked.send(os.read(told, 100) or b"-1")
        os.close(told)


def _fork(task: dict[str, Any], fds: Sequence[int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    told, tells = os.pipe()
    pid = os.fork()
    if not pid:
        _become(task, fds, tells)
    os.close(tells)
    os.read(told, 100)
    os.close(told)
    return pid


def _become(task: dict[str, Any], fds: Sequence[int], tells: int) -> NoReturn:
    """In the child: what an exec would have left; its pid into `tells`; the command to its end."""
    global _is_forked, _template
    code = 1
    try:
        _is_forked, _template = True, task["template"]
        gc.freeze()  # nobody's descriptors are closed again when his objects go
        weakref.finalize._registry.clear()  # type: ignore[attr-defined]  # nor his folders removed when we end
        if task["is_leader"]:
            os.setsid()
        for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, 3) for fd in fds]):
            os.dup2(fd, number)
        for fd in [int(place.name) for place in Path("/proc/self/fd").iterdir()]:
            if fd > 2 and fd != tells:
                with contextlib.suppress(OSError):  # the listing's own
                    os.close(fd)
        signal.set_wakeup_fd(-1)
        for known in signal.valid_signals():
            if callable(signal.getsignal(known)):
                signal.signal(known, signal.default_int_handler if known == signal.SIGINT else signal.SIG_DFL)
        asyncio._set_running_loop(None)
        os.environ.clear()
        os.environ.update(task["environment"])
        os.chdir(task["folder"])
        _open_streams()
        os.write(tells, str(os.getpid()).encode())
        os.close(tells)
        if _template and task["module"] == "cli.main":
            store_template.plant(Path(_template), task["arguments"], os.environ, Path.cwd())
        sys.argv = [task["module"], *task["arguments"]]
        code = _run(task["module"])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _open_streams() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        # Nothing of it is ours to write, neither now nor when it goes.
        setattr(sys, f"__{name}__", old)
        mode, is_line_by_line = ("r", False) if not number else ("w", number == 2 or "PYTHONUNBUFFERED" in os.environ)
        made = open(  # noqa: SIM115
            number,
            mode,
            encoding=old.encoding,
            errors=old.errors,
            closefd=False,
            buffering=1 if is_line_by_line else -1,
        )
        setattr(sys, name, made)


def _run(module: str) -> int:
    """The status that an interpreter would end with."""
    try:
        if module == "cli.main":
            importlib.import_module(module).main()
        else:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exc:
        if exc.code is not None and not isinstance(exc.code, int):
            print(exc.code, file=sys.stderr)
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return code & 0xFF
