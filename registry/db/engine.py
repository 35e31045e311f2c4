"""The database and its threads: one writer, several readers, migrations at opening, a bell after each commit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from registry.db import leader, notify, sequence
from registry.db.threads import Threads

P = ParamSpec("P")
R = TypeVar("R")

READERS = 4
# So many new devices, or newly heard ones, then none for so long: then PostgreSQL looks at its tables anew.
MANY_ROWS = 10_000
CALM_S = 1.0
# Of the lock under which one registry at a time brings the tables of a PostgreSQL up to date.
MIGRATION_LOCK = 0x6366_7265_67
# Of the one under which one registry at a time clears up after many rows.
VACUUM_LOCK = 0x6366_7661_63
# An option of a reader's connection: no transaction.
_OUTSIDE = "outside_transactions"


class ChangeBell:
    """Wakes whoever waits for a newer revision. One loop."""

    def __init__(self) -> None:
        self.revision = 0
        self.is_closed = False
        self._rung = asyncio.Event()

    def ring(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        self._rung.set()
        self._rung = asyncio.Event()

    def close(self) -> None:
        """Wake everybody for the last time: the registry is about to leave."""
        self.is_closed = True
        self._rung.set()

    async def wait(self, after: int, timeout_s: float) -> bool:
        """Return True as soon as there is a revision above `after`, False when the time is up or the bell is closed."""
        if self.revision > after or self.is_closed:
            return self.revision > after
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        return self.revision > after


class Database:
    """Synchronous SQLAlchemy in threads of its own: for SQLite that is faster than any asynchronous driver, and bulk
    inserts stay bulk. `write` runs one function in one transaction, all writes one after the other, also those of
    several registries on one PostgreSQL: there `listen` has to run for the bell to ring for what the others write."""

    def __init__(self, url: str) -> None:
        """Raises: sqlalchemy.exc.ArgumentError for a URL that is none."""
        self.is_postgresql = make_url(url).get_backend_name() == "postgresql"
        if self.is_postgresql:
            # A write sees what was committed before it had its turn; a read sees one state of all tables. Asked before
            # each write: after a restart of the server no call fails for a connection that was left from before.
            self._writer_engine = create_engine(
                url, pool_size=1, max_overflow=0, pool_pre_ping=True, isolation_level="READ COMMITTED"
            )
            self._reader_engine = _postgresql_reader(url)
        else:
            # Of the cache only the writer has much: what readers lack, the operating system has.
            self._writer_engine = _sqlite_engine(url, 1, "BEGIN IMMEDIATE", 65_536)
            self._reader_engine = _sqlite_engine(url, READERS, "BEGIN", 16_384)
        self._outside = self._reader_engine.execution_options(**{_OUTSIDE: True})
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="registry-write")
        self._readers = Threads(READERS, "registry-read")
        self.bell = ChangeBell()
        self._new_rows = 0
        self._grown = asyncio.Event()

    async def open(self) -> None:
        """Bring the tables up to date. Raises: sqlalchemy.exc.DBAPIError if the database cannot be reached."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._writer, migrate, self._writer_engine)
        self.bell.ring((await self.read(sequence.head)).revision)

    async def listen(self) -> None:
        """Ring for what other registries commit; until cancelled, or at once where there can be none."""
        if self.is_postgresql:
            await notify.listen(self._reader_engine, self.bell.ring)

    async def lead(
        self, lock: int, work: Callable[[], Awaitable[NoReturn]], follow: Callable[[], Awaitable[None]]
    ) -> None:
        """Run `work` in one of all the registries of this database at a time; until cancelled.

        Args: lock: of this work. follow: called every few seconds while another registry does it.
        """
        if self.is_postgresql:
            await leader.lead(self._reader_engine, lock, work, follow)
        await work()

    def grew(self, devices: int) -> None:
        """Note that so many were created, changed, or heard for the first time, by one call."""
        self._new_rows += devices
        if self._new_rows >= MANY_ROWS:
            self._grown.set()

    async def keep_known(self) -> None:
        """Tell PostgreSQL what it has after very many devices came or changed; until cancelled. It would find out by
        itself, but for minutes it counts and lists ten times slower than it can. One registry at a time does it.

        Raises: sqlalchemy.exc.DBAPIError; call it again.
        """
        while True:
            await self._grown.wait()
            known = -1
            while known != self._new_rows:
                known = self._new_rows
                await asyncio.sleep(CALM_S)
            self._new_rows = 0
            self._grown.clear()
            if self.is_postgresql:
                while not await self._readers.run(partial(_vacuum, self._reader_engine)):
                    await asyncio.sleep(CALM_S)

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` on one consistent view of the database."""

        def run() -> R:
            with _begun(self._reader_engine) as connection:
                return work(connection, *args, **kwargs)

        return await self._readers.run(run)

    async def ask(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` of one Prepared query, which is a consistent view by itself: to begin and end a
        transaction round it would take longer than the query."""

        def run() -> R:
            try:
                with self._outside.connect() as connection:
                    return work(connection, *args, **kwargs)
            except DBAPIError as exc:
                if not exc.connection_invalidated:
                    raise
            # It was left from before a restart of the server, as are all in the pool: they are gone now.
            with self._outside.connect() as connection:
                return work(connection, *args, **kwargs)

        return await self._readers.run(run)

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work(connection, ...)` as the only writer; committed, and durable, when it returns.

        An exception of `work` rolls everything back.
        """

        def run() -> tuple[R, int, int]:
            with self._writer_engine.begin() as connection:
                before = sequence.lock(connection)
                answer = work(connection, *args, **kwargs)
                after = sequence.head(connection).revision
                if self.is_postgresql and after > before:
                    notify.notify(connection, after)
            return answer, before, after

        loop = asyncio.get_running_loop()
        # Shielded: once handed to the thread the transaction ends by itself, and the bell must ring for it.
        future = loop.run_in_executor(self._writer, run)
        future.add_done_callback(self._announce)
        answer, _, _ = await asyncio.shield(future)
        return answer

    def _announce(self, done: asyncio.Future[tuple[R, int, int]]) -> None:
        if not done.cancelled() and done.exception() is None:
            _, before, after = done.result()
            if after > before:
                self.bell.ring(after)

    def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._writer_engine.dispose()
        self._reader_engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file, whose folder is made if need be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"sqlite:///{path}"


@contextmanager
def _begun(engine: Engine) -> Iterator[Connection]:
    """A transaction. Raises: sqlalchemy.exc.DBAPIError."""
    connection = engine.connect()
    try:
        transaction = connection.begin()
    except DBAPIError as exc:
        connection.close()
        if not exc.connection_invalidated:
            raise
        # It was left from before a restart of the server, as are all in the pool: they are gone now.
        connection = engine.connect()
        transaction = connection.begin()
    with connection, transaction:
        yield connection


def _postgresql_reader(url: str) -> Engine:
    # The one that was last given back is the warmest, and its transaction has ended: the pool need not see to that.
    engine = create_engine(
        url,
        pool_size=READERS,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
        pool_use_lifo=True,
        pool_reset_on_return=None,
    )

    # The driver would begin with the first statement, when it is too late to take another connection if the server does
    # not know this one any more; and to ask before, as the pool can, takes as long as a small read.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if _OUTSIDE not in connection.get_execution_options():
            connection.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ")

    return engine


def _vacuum(engine: Engine) -> bool:
    """So that an index alone answers (no row has to be asked who sees it), and plans are made for what is there.

    Returns: False: another registry is at it, and may have begun too early for our rows. Nobody waits for the lock
    within a statement, whose snapshot would keep the other one from clearing what is newer.
    """
    with engine.connect().execution_options(**{_OUTSIDE: True}) as connection:
        lock = {"lock": VACUUM_LOCK}
        if not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), lock).scalar_one():
            return False
        try:
            tables = ("devices", "device_labels", "device_tokens", "device_state", "unheard_devices")
            connection.execute(text(f"VACUUM (ANALYZE) {', '.join(tables)}"))
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), lock)
    return True


def _sqlite_engine(url: str, pool_size: int, begin: str, cache_kb: int) -> Engine:
    engine = create_engine(url, pool_size=pool_size, max_overflow=0, pool_use_lifo=True)

    # The driver's own idea of when a transaction begins is switched off: a reader needs a stable view and the
    # writer its lock from the first statement on (https://docs.sqlalchemy.org/en/21/dialects/sqlite.html).
    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",  # a token that was shown must survive a power loss
            "busy_timeout = 10000",
            "foreign_keys = ON",
            f"cache_size = -{cache_kb}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables up to date. Raises: sqlalchemy.exc.DBAPIError."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
