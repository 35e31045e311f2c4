"""`cityfleet backup`: everything of one data folder in one file, while it is in use or not."""

import asyncio
import contextlib
import datetime
import errno
import importlib.metadata
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

import msgspec
import typer
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from sqlalchemy.exc import SQLAlchemyError

from cli.errors import CommandError, ExitCode
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from runtime import runfile
from runtime.archive import FORMAT, ArchiveError, ArchiveReader, ArchiveWriter, Head, Manifest, Source

_STDOUT = "-"


class About(msgspec.Struct):
    """What a backup says of itself. Rows by table; `store_rows` counts copies that are not merged yet too."""

    chdb: str
    store: Literal["frozen", "stopped", "server", "none"] = "none"
    store_rows: dict[str, int] = {}
    registry: Literal["sqlite", "postgresql", "server", "none"] = "none"
    registry_schema: str = ""
    registry_rows: dict[str, int] = {}

    @property
    def store_schema(self) -> int:
        return self.store_rows.get("cityfleet.migrations", 0)


def backup(
    to: Annotated[str, typer.Argument(metavar="TO", help="File to write, a folder to put it in, or - for stdout.")],
    config: ConfigOption = None,
    data: DataOption = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read it again and compare every sum.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be packed, and write nothing.")] = False,
) -> None:
    """Pack spool, store, registry, device index and secrets of a data folder into one file.

    The platform may run: everything that was acknowledged before the backup began is in it. It holds secrets, so only
    its owner may read it. A registry in PostgreSQL is dumped by pg_dump; a ClickHouse server has backups of its own:
    see docs/backup.md.

    Examples:
        cityfleet backup /backups
        cityfleet backup - | ssh elsewhere 'cat > cityfleet.tar.zst'
    """
    settings = load_settings(config, data)
    if not settings.data_path.is_dir():
        raise CommandError(
            f"there is no data folder {settings.data_path}", ExitCode.NOT_FOUND, remedy="name it: --data DIR"
        )
    if to == _STDOUT and verify:
        raise CommandError("what went to stdout cannot be read again: --verify needs a file", ExitCode.USAGE)
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # devices come first
    with _errors_said(), runfile.Lock(settings.data_path, "backup"):
        packing = Packing(settings)
        if dry_run:
            packing.show(asyncio.run(packing.survey()))
            return
        path, manifest = packing.write(to)
        if path is not None and verify and ArchiveReader(path).check().files != manifest.files:
            raise ArchiveError("it is not what was written")
    _say(f"{path or 'stdout'}: {len(manifest.files)} files, {manifest.size_bytes:,} bytes{', verified' * verify}")


class Packing:
    """One backup, part after part in the order in which they must be taken (docs/backup.md says why)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._data = settings.data_path
        self._stage = self._data / "run" / "backup"
        self._about = About(chdb=importlib.metadata.version("chdb"))
        self._progress = _progress()
        self._task = self._progress.add_task("backup", total=0)

    def write(self, to: str) -> tuple[Path | None, Manifest]:
        """Returns the file, None for stdout. Raises: OSError, ArchiveError and what the parts raise."""
        created = datetime.datetime.now(datetime.UTC)
        head = Head(FORMAT, importlib.metadata.version("cityfleet"), created.isoformat(timespec="seconds"))
        with self._staged(), self._progress, _target(to, created) as (file, path):
            with ArchiveWriter(file, head, self._advance) as archive:
                asyncio.run(self._pack(archive))
                manifest = archive.finish(self._about)
            file.flush()
            if path is not None:
                os.fsync(file.fileno())
        return path, manifest

    async def _pack(self, archive: ArchiveWriter) -> None:
        from ingest.backup import spool_files, state_files
        from store.backup import copy_of_store

        # What leaves the spool from now on is in the store before the store is looked at.
        self._add(archive, "spool", spool_files(self._data))
        if self._settings.store.url:
            self._about.store = "server"
        elif (self._data / "store").is_dir():
            self._progress.update(self._task, description="store")
            async with copy_of_store(self._settings.store, self._data) as copy:
                self._about.store = "frozen" if copy.is_frozen else "stopped"
                self._about.store_rows = copy.rows
                self._add(archive, "store", copy.files)
        # The registry after the store, so that it knows every number there; after the index, which must not be ahead.
        self._add(archive, "index", state_files(self._data))
        self._add(archive, "registry", self._registry())
        self._add(archive, "secrets", [Source(str(path.relative_to(self._data)), path) for path in self._secrets()])

    def _secrets(self) -> list[Path]:
        from store.access.accounts import file_of

        accounts = file_of(self._data)
        return [*sorted((self._data / "secrets").glob("[!.]*")), *([accounts] if accounts.exists() else [])]

    def _registry(self) -> list[Source]:
        """A copy of the database, beside the data until it is packed."""
        from registry import backup_postgresql
        from registry.backup import FILE, copy_sqlite

        path, url, name = self._data / FILE, self._settings.registry.database_url, FILE
        if backup_postgresql.is_postgresql(url):
            name = backup_postgresql.FILE
            copy = backup_postgresql.copy(url, self._stage / "registry")
            self._about.registry = "postgresql"
        elif url:
            self._about.registry = "server"
            return []
        elif path.exists():
            copy = copy_sqlite(path, self._stage / "registry")
            self._about.registry = "sqlite"
        else:
            return []
        self._about.registry_schema, self._about.registry_rows = copy.revision, copy.rows
        return [Source(name, self._stage / "registry")]

    async def survey(self) -> list[tuple[str, list[Source]]]:
        """What would be packed now, by part."""
        from ingest.backup import spool_files, state_files
        from registry.backup import FILE
        from store.backup import files_of_store

        parts = [("spool", spool_files(self._data))]
        if not self._settings.store.url:
            parts.append(("store", files_of_store(self._data)))
        parts.append(("index", state_files(self._data)))
        if not self._settings.registry.database_url:
            parts.append(("registry", [Source(FILE, path) for path in [self._data / FILE] if path.exists()]))
        return [*parts, ("secrets", [Source(str(path), path) for path in self._secrets()])]

    def show(self, parts: list[tuple[str, list[Source]]]) -> None:
        for name, sources in parts:
            print(f"{name:<9} {len(sources):>7} files {_size(sources):>16,} bytes")

    def _add(self, archive: ArchiveWriter, part: str, sources: list[Source]) -> None:
        total = (self._progress.tasks[0].total or 0) + _size(sources)
        self._progress.update(self._task, description=part, total=total)
        for source in sources:
            archive.add(source)

    def _advance(self, count: int) -> None:
        self._progress.advance(self._task, count)

    @contextlib.contextmanager
    def _staged(self) -> Iterator[None]:
        shutil.rmtree(self._stage, ignore_errors=True)  # of a backup that was killed
        self._stage.mkdir(mode=0o700, parents=True)
        try:
            yield
        finally:
            shutil.rmtree(self._stage, ignore_errors=True)


@contextlib.contextmanager
def _target(to: str, created: datetime.datetime) -> Iterator[tuple[IO[bytes], Path | None]]:
    """The file to write; it gets its name when it is whole, and is gone if it is not."""
    if to == _STDOUT:
        if sys.stdout.isatty():
            raise CommandError("a backup is not for a terminal: name a file, or pipe it on", ExitCode.USAGE)
        yield sys.stdout.buffer, None
        return
    path = Path(to).expanduser().absolute()
    if path.is_dir():
        path /= f"cityfleet-{created:%Y%m%dT%H%M%SZ}.tar.zst"
    if path.exists():
        raise CommandError(f"{path} exists already", remedy="name another file; backups are never overwritten")
    draft = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file, path
        draft.rename(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(sources: list[Source]) -> int:
    total = 0
    for source in sources:
        with contextlib.suppress(FileNotFoundError):
            total += source.path.stat().st_size
    return total


@contextlib.contextmanager
def _errors_said() -> Iterator[None]:
    from registry.backup import DamagedError
    from registry.backup_postgresql import ToolError

    try:
        yield
    except runfile.AlreadyRunningError as exc:
        raise CommandError(str(exc), remedy="wait until that backup has ended") from exc
    except (ClickHouseError, ConnectionError, TimeoutError) as exc:
        reason = (str(exc).strip() or type(exc).__name__).splitlines()[0]
        raise CommandError(
            f"the store runs, but does not answer: {reason}", remedy="try again when it has started, or stop it"
        ) from exc
    except (ArchiveError, DamagedError, ToolError, SQLAlchemyError, sqlite3.Error) as exc:
        raise CommandError(f"no backup was made: {exc}") from exc
    except OSError as exc:
        remedy = "free some space, or name a place on another disk" if exc.errno == errno.ENOSPC else ""
        raise CommandError(f"no backup was made: {exc}", remedy=remedy) from exc


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _say(text: str) -> None:
    """Standard output may be the backup."""
    print(text, file=sys.stderr)
