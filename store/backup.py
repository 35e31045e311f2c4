"""What of the embedded store goes into a backup: its tables' metadata and one consistent set of parts.

While the engine runs, `ALTER TABLE ... FREEZE` makes the set: hard links beside the data, in the store's own folder, so
that merges go on and nothing is copied twice. While it does not, its folder is locked and taken as it lies.
"""

import contextlib
import os
import re
import shutil
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from runtime.archive import ArchiveError, Source
from store.client import open_client
from store.embedded.config import DATABASES
from store.embedded.engine import EngineLockedError, lock_folder, quote
from store.settings import StoreSettings

FOLDER = "store/data"
_FREEZE = "cityfleet_backup"  # a name whose folder the engine does not have to escape
_DATABASE = re.compile(r"ATTACH DATABASE _ UUID '([0-9a-f-]{36})'")
_TABLE = re.compile(r"ATTACH TABLE _ UUID '([0-9a-f-]{36})'.*^ENGINE = \w*MergeTree\b", re.S | re.M)
_PART = re.compile(r"(\w+)_(\d+)_(\d+)_(\d+)(?:_(\d+))?")
# Whatever else lies in a table's folder is the engine's own litter, or was put aside by a person.
_BESIDE_PARTS = re.compile(r"format_version\.txt|mutation_\d+\.txt|deduplication_logs")


class StoreCopy(msgspec.Struct, frozen=True):
    """Files to pack, and rows by table (`cityfleet.readings`), copies of a reading that are not merged yet included."""

    files: list[Source]
    rows: dict[str, int]
    is_frozen: bool


@contextlib.asynccontextmanager
async def copy_of_store(settings: StoreSettings, data_dir: Path) -> AsyncIterator[StoreCopy]:
    """The store's files, which stay as they are for as long as the block lasts.

    Raises: OSError or ClickHouseError if the engine runs and does not answer; ArchiveError if it has nothing to give.
    """
    folder = data_dir / FOLDER
    try:
        lock = lock_folder(data_dir / "store")
    except EngineLockedError:
        async with _frozen(settings, data_dir) as (frozen, filled):
            copy = _copy(folder, frozen, is_frozen=True)
            if empty := sorted(table for table in filled if not copy.rows.get(table)):
                raise ArchiveError(f"the engine froze nothing of {', '.join(empty)}") from None
            yield copy
    else:
        with lock:
            yield _copy(folder, folder, is_frozen=False)


def files_of_store(data_dir: Path) -> list[Source]:
    """What there is to pack now, roughly: while the engine runs, parts come and go."""
    folder = data_dir / FOLDER
    walk = (found for below in ("metadata", "store") for found in os.walk(folder / below))
    paths = [Path(root) / name for root, _, names in walk for name in names]
    return [Source(f"{FOLDER}/{path.relative_to(folder)}", path) for path in paths]


@contextlib.asynccontextmanager
async def _frozen(settings: StoreSettings, data_dir: Path) -> AsyncIterator[tuple[Path, set[str]]]:
    """Freeze all tables; the folder of that, which is given up at the end, and the tables that are not empty.

    `latest` first: what is in it then is also in `readings`, because inserts go the other way round.
    """
    frozen = data_dir / FOLDER / "shadow" / _FREEZE
    names = ", ".join(quote(name) for name in DATABASES)
    shutil.rmtree(frozen, ignore_errors=True)  # what a backup that was killed has left
    try:
        client = await open_client(settings, data_dir, "admin")
        try:
            found = await client.query(
                f"SELECT database, name, total_rows FROM system.tables WHERE database IN ({names}) "  # noqa: S608
                "AND engine LIKE '%MergeTree' ORDER BY name != 'latest', database, name"
            )
            for database, name, _ in found.result_rows:
                await client.command(f"ALTER TABLE `{database}`.`{name}` FREEZE WITH NAME {quote(_FREEZE)}")
        finally:
            await client.close()
        yield frozen, {f"{database}.{name}" for database, name, rows in found.result_rows if rows}
    finally:
        # Links to parts that the engine may have merged away meanwhile: nobody else counts on them.
        shutil.rmtree(frozen, ignore_errors=True)


def _copy(folder: Path, parts_in: Path, *, is_frozen: bool) -> StoreCopy:
    """Args: parts_in: where the tables' parts are: the data itself, or what was frozen of it."""
    files: list[Source] = []
    rows: dict[str, int] = {}

    def take(path: Path, below: Path) -> None:
        files.append(Source(f"{FOLDER}/{path.relative_to(below)}", path))

    for database in sorted((folder / "metadata").glob("*.sql")):
        uuid = _DATABASE.search(database.read_text(encoding="utf-8"))
        if uuid is None or database.stem not in DATABASES:
            continue
        take(database, folder)
        for definition in sorted(_of(folder, uuid[1]).glob("*.sql")):
            take(definition, folder)
            table = _TABLE.search(definition.read_text(encoding="utf-8"))
            if table is None:
                continue
            for path in _beside_parts(_of(folder, table[1]), is_frozen=is_frozen):
                take(path, folder)
            parts = [path for path in _listed(_of(parts_in, table[1])) if _PART.fullmatch(path.name)]
            for part in parts:
                for path in sorted(part.rglob("*")):
                    if path.is_file():
                        take(path, parts_in)
            name = f"{database.stem}.{definition.stem}"
            rows[name] = sum(int(_read(part, "count.txt")) for part in _uncovered(parts))
    return StoreCopy(files, rows, is_frozen)


def _read(part: Path, name: str) -> bytes:
    """A file of a part. Of a small part they lie in one (data.packed), whose head says where.

    Raises: OSError; ArchiveError if there is no such file in it.
    """
    packed = part / "data.packed"
    if not packed.exists():
        return (part / name).read_bytes()
    with packed.open("rb") as file, contextlib.suppress(struct.error, IndexError):
        # A byte for the version of the format, how many files, and of each: its name behind its length, begin and size.
        version, count = struct.unpack("<BQ", file.read(9))
        for _ in range(0 if version else count):
            found = file.read(file.read(1)[0])
            begin, size = struct.unpack("<QQ", file.read(16))
            if found == name.encode():
                file.seek(begin)
                content = file.read(size)
                if len(content) == size:
                    return content
    raise ArchiveError(
        f"{packed} is damaged, or of a format that this version does not know: {name} is not to be found"
    )


def _of(folder: Path, uuid: str) -> Path:
    return folder / "store" / uuid[:3] / uuid


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _beside_parts(table: Path, *, is_frozen: bool) -> Iterator[Path]:
    """With frozen parts only what never changes: the log of inserts would name some that the parts do not have."""
    for path in _listed(table):
        if path.name == "format_version.txt" or (not is_frozen and _BESIDE_PARTS.fullmatch(path.name)):
            yield from sorted(path.iterdir()) if path.is_dir() else [path]


def _uncovered(parts: list[Path]) -> list[Path]:
    """Without those that were merged into another one and only wait to be removed."""
    spans: dict[str, list[tuple[int, int, int, Path]]] = {}
    for part in parts:
        match = _PART.fullmatch(part.name)
        assert match is not None
        partition, first, last, level, mutation = match.groups()
        spans.setdefault(partition, []).append((int(first), -int(last), -int(level) - int(mutation or 0), part))
    kept = []
    for found in spans.values():
        reached = -1
        for _, last, _, part in sorted(found, key=lambda span: span[:3]):
            if -last > reached:  # sorted by its begin and the wider first: a covered one ends before what covers it
                kept.append(part)
                reached = -last
    return kept
