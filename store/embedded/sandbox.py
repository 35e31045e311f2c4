"""The kernel's fence round the store process (Landlock): its own folder, the libraries it runs on, and nothing else.

The engine reads files and connects to hosts in many ways, more with every version. What its configuration and the look
at each statement should miss, the kernel still refuses: no file outside, no command at all, no outgoing connection.
"""

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

# include/uapi/linux/landlock.h; the system call numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PR_SET_NO_NEW_PRIVS = 38
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST_VERSION = (1 << 13) - 1
_CONNECT_TCP = 1 << 1
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/diskstats",
    "/proc/net",
    "/proc/sys",
    "/proc/pressure",
    "/sys/block",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
)
_SELF = ("auxv", "maps", "statm", "stat", "status", "io", "schedstat", "cgroup", "limits", "mountinfo", "mounts")


class SandboxError(Exception):
    """The kernel offers no Landlock, or refused the rules."""


def confine(writable: Iterable[Path], modules: Iterable[str]) -> int:
    """Fence this thread in, and every thread and process that it starts from now on; there is no way back.

    Args:
        writable: folders whose files may be read, written, made and removed.
        modules: names of imported packages of ours, whose files may be read.
    Returns: the version of Landlock; below 4 it does not know the network.
    Raises: SandboxError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    handled = _FIRST_VERSION
    for flag, since in ((_REFER, 2), (_TRUNCATE, 3), (_IOCTL_DEV, 5)):
        if version >= since:
            handled |= flag
    attributes = struct.pack("=QQ", handled, _CONNECT_TCP) if version >= 4 else struct.pack("=Q", handled)
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    try:
        for path in writable:
            _allow(libc, rules, path, handled & ~_EXECUTE)
        for path in _readable(modules):
            _allow(libc, rules, path, _READ_FILE | _READ_DIR)
        _allow(libc, rules, Path("/dev/null"), _READ_FILE | _WRITE_FILE)
        _clear_environment()
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, rules, 0):
            raise SandboxError(f"Landlock: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(rules)
    return int(version)


def _clear_environment() -> None:
    """The environment that the process began with can be read below `task`, and settings in it may be passwords.

    The C library gets copies, which all that is asked for by name comes from, and that memory is cleared.
    """
    for name, value in os.environb.items():
        os.putenv(name, value)
    # Fields 50 and 51 of proc_pid_stat(5), of which the second, a name in brackets, may hold spaces.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[50 - 3]), int(fields[51 - 3])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)


def _readable(modules: Iterable[str]) -> list[Path]:
    paths = [Path(path) for path in _SYSTEM]
    paths += [Path("/proc/self") / name for name in _SELF]
    # The engine's threads open their counters for each query; refused, each throws: a fifth of what a small one takes.
    paths.append(Path("/proc/self/task"))
    # Modules are imported when they are first needed.
    paths += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [Path(sys.base_prefix) / "lib", Path(sys.prefix) / "lib"]
    for name in modules:
        file = sys.modules[name].__file__
        if file is not None:
            paths.append(Path(file).parent)
    return [path for path in paths if path.exists()]


def _allow(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not path.is_dir():
            access &= _ON_FILES
        rule = struct.pack("=Qi", access, descriptor)
        if libc.syscall(_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0):
            raise SandboxError(f"Landlock, {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)
