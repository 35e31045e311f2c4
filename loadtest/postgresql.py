"""A PostgreSQL server beside us: `with running_postgresql() as url: ...`; `{url}/name` is a database to create."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from loadtest.platform import free_ports


def binaries() -> Path | None:
    """The folder of the newest server that is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).parent if there else None


@contextmanager
def running_postgresql(*, is_durable: bool = False) -> Iterator[str]:
    """Gives `postgresql+psycopg://USER@127.0.0.1:PORT`. It refuses to run as root, so then it runs as `postgres`.

    Args:
        is_durable: what is committed is fsynced, and there are buffers for a million devices, as in earnest; else it is
            faster.
    """
    bin_dir = binaries()
    assert bin_dir is not None
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if user:
        shutil.chown(folder, user)
    (port,) = free_ports(1)
    data = folder / "data"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}"
    options += " -c shared_buffers=1GB -c max_wal_size=4GB" if is_durable else " -c fsync=off"
    try:
        commands: tuple[list[str | Path], ...] = (
            [bin_dir / "initdb", "-D", data, "-A", "trust", "-U", "cityfleet", "-N"],
            [bin_dir / "pg_ctl", "-D", data, "-o", options, "-l", folder / "log", "-w", "start"],
        )
        for command in commands:
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        yield f"postgresql+psycopg://cityfleet@127.0.0.1:{port}"
    finally:
        stop: list[str | Path] = [bin_dir / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"]
        subprocess.run(stop, user=user, cwd=folder, check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


def create_database(server: str, name: str) -> str:
    """The URL of a new, empty database of a server that `running_postgresql` gave."""
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}/{name}"
