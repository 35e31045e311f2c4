"""The embedded engine: one chDB per process and folder, one short-lived session per query."""

import asyncio
import contextlib
import fcntl
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog

from store.embedded import config, errors

log = structlog.get_logger()
T = TypeVar("T")

_IN_MEMORY_BYTES = 256 << 20


class EngineLockedError(Exception):
    """Another process has this folder open."""


def quote(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Session:
    """One connection, used for one query and closed: no setting and no temporary table outlives it.

    Every method blocks; the interpreter lock is free meanwhile.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def set(self, settings: Mapping[str, str], filters: str = "") -> None:
        """All at once. Raises StoreError for an unknown or forbidden setting.

        Args:
            filters: of tables, as a map in SQL.
        """
        changes = [f"additional_table_filters = {filters}"] if filters else []
        changes += [f"{name} = {quote(value)}" for name, value in settings.items()]
        if changes:
            self.query("SET " + ", ".join(changes))

    def use(self, database: str) -> None:
        self.query("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")

    def query(self, sql: str, output_format: str = "TabSeparated", params: Mapping[str, str] | None = None) -> Any:
        """The engine's result object (bytes(), rows_read(), storage_rows_read() ...). Raises StoreError."""
        try:
            return self._connection.query(_raw(sql), output_format, params=dict(params or {}))
        except (RuntimeError, UnicodeDecodeError) as exc:
            raise errors.from_engine(exc) from exc

    def classify(self, sql: str) -> dict[str, Any]:
        """What the engine's parser says the text would do. Raises StoreError if it does not parse."""
        try:
            found: dict[str, Any] = self._connection.classify_query(_raw(sql))
        except (RuntimeError, UnicodeDecodeError) as exc:
            raise errors.from_engine(exc) from exc
        return found

    def insert(self, head: str, data: "Upload", rest: str, params: Mapping[str, str]) -> Any:
        """Insert what was uploaded, whole or not at all.

        From a file and not by the engine's streaming insert: that one loses the errors that come after the parser
        (a violated constraint, too many parts, a full disk) and says that all is stored.

        Args:
            head: up to the table and its columns.
            rest: what comes after the file: SETTINGS, FORMAT.
        Raises: StoreError.
        """
        return self.query(f"{head}\nFROM INFILE {quote(data.path)}\n{rest}", "TabSeparated", params)

    def close(self) -> None:
        self._connection.close()


class Upload:
    """A request's data on its way to the engine: in memory, on disk once it is large. Blocks a little."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._size = 0
        self._is_on_disk = False
        self._file = os.memfd_create("upload")

    @property
    def path(self) -> str:
        """Where the engine finds it, until it is closed."""
        return f"/proc/self/fd/{self._file}"

    def append(self, parts: list[bytes]) -> None:
        """At most IOV_MAX parts. Raises: StoreError if there is no room."""
        size = sum(map(len, parts))
        try:
            if self._size + size > _IN_MEMORY_BYTES and not self._is_on_disk:
                self._move()
            written = os.writev(self._file, parts)
            if written < size:
                rest = memoryview(b"".join(parts))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as exc:
            raise errors.refused(243, f"No room for the data: {exc.strerror}", "NOT_ENOUGH_SPACE") from exc
        self._size += size

    def _move(self) -> None:
        on_disk = os.open(self._folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        memory, self._file, self._is_on_disk = self._file, on_disk, True
        try:
            at = 0
            while at < self._size:
                at += os.sendfile(on_disk, memory, at, self._size - at)
        finally:
            os.close(memory)

    def close(self) -> None:
        os.close(self._file)


def _raw(sql: str) -> bytes:
    return sql.encode("utf-8", errors="surrogateescape")


class Engine:
    """Opens the folder; hands out sessions and threads to run them in.

    `threads` bounds how many engine calls run at once. Raises: EngineLockedError.
    """

    def __init__(self, folder: Path, threads: int, max_memory_bytes: int = 0, log_days: int = 0) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        # The engine's time zone and its folder for temporary files are the process's.
        os.environ["TZ"] = "UTC"
        os.environ["TMPDIR"] = str(folder / "tmp")
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        (folder / "tmp").mkdir()
        with contextlib.chdir(folder / "tmp"):  # its import opens an engine, which would take a config.xml it finds
            _chdb: Any = importlib.import_module("chdb._chdb")

        _chdb.set_signal_handlers_enabled(False)
        self._connect_to = _chdb.connect
        data = folder / "data"
        # The engine's logs (`log_days`) begin anew with each of its runs.
        shutil.rmtree(data / "data" / "system", ignore_errors=True)
        configuration = config.write(folder / "config", max_memory_bytes, log_days)
        self._target = f"{data}?config-file={configuration}"
        try:
            self._anchor = self._connect_to(self._target)  # the engine lives as long as one connection is open
        except RuntimeError as exc:
            self._lock.close()
            raise errors.from_engine(exc) from exc
        self._control = Session(self._connect_to(self._target))
        self._control_lock = threading.Lock()
        self._prepare()
        self.uploads = folder / "tmp"
        self.version = self.ask("SELECT version()")
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._control_pool = ThreadPoolExecutor(1, thread_name_prefix="control")

    def _prepare(self) -> None:
        """The `default` database of the embedded engine shows the file system as tables; replace it by a plain one."""
        if self.ask("SELECT engine FROM system.databases WHERE name = 'default'") != "Atomic":
            self.ask("DROP DATABASE IF EXISTS default SYNC")
            self.ask("CREATE DATABASE default ENGINE = Atomic")

    def session(self) -> Session:
        """A new session. Raises StoreError."""
        try:
            return Session(self._connect_to(self._target))
        except (RuntimeError, UnicodeDecodeError) as exc:
            raise errors.from_engine(exc) from exc

    def ask(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        """Run a statement of ours on the control session; the answer as tab-separated text. Blocks."""
        with self._control_lock:
            answer: str = self._control.query(sql, "TabSeparated", params).bytes().decode().rstrip("\n")
        return answer

    async def control(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        """`ask`, off the loop and ahead of queries that wait for a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._control_pool, self.ask, sql, params)

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, call, *args)

    async def kill(self, tag: str) -> None:
        """Stop the queries whose `log_comment` is `tag`."""
        await self.control(f"KILL QUERY WHERE Settings['log_comment'] = {quote(tag)} ASYNC")

    def close(self) -> None:
        """Close the engine; the caller has ended every query."""
        self.pool.shutdown(wait=True)
        self._control_pool.shutdown(wait=True)
        self._control.close()
        self._anchor.close()
        self._lock.close()


def lock_folder(folder: Path) -> IO[str]:
    """Keep other processes from opening the store in `folder` until the file is closed. Raises: EngineLockedError."""
    file = (folder / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise EngineLockedError(
            f"the store's folder {folder} is open in another process{f' (pid {holder})' if holder else ''}"
        ) from exc
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
