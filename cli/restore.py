"""`cityfleet restore`: a data folder out of a backup, whole or not at all."""

import contextlib
import errno
import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy.exc import SQLAlchemyError

from cli.backup import About, sync_folder
from cli.errors import CommandError, ExitCode
from cli.settings import ConfigOption, DataOption, load_settings
from runtime.archive import FORMAT, ArchiveError, ArchiveReader, Head, Manifest

_ALLOWED = ("ingest/", "registry/", "secrets/", "store/access/", "store/data/")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="A file that `cityfleet backup` wrote.")],
    config: ConfigOption = None,
    data: DataOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and write nothing.")] = False,
) -> None:
    """Make a data folder from a backup; the folder must be empty or not there yet.

    Every sum is compared before anything is written. Devices keep their numbers and their tokens; what is numbered from
    then on gets numbers that were never given out before.

    Examples:
        cityfleet restore cityfleet-20261121T020000Z.tar.zst --data /var/lib/cityfleet
        cityfleet restore cityfleet-20261121T020000Z.tar.zst --dry-run
    """
    settings = load_settings(config, data)
    target, url = settings.data_path, settings.registry.database_url
    with _errors_said(source):
        archive = ArchiveReader(source)
        _refuse_newer_format(archive.head)
        if not dry_run:
            _refuse_used(target)
        manifest = archive.check()
        try:
            about = msgspec.json.decode(manifest.about, type=About)
        except msgspec.DecodeError as exc:
            raise ArchiveError(f"its manifest is not understood: {exc}") from exc
        _refuse_newer_contents(archive.head, about)
        if strange := [entry.path for entry in manifest.files if not entry.path.startswith(_ALLOWED)]:
            raise ArchiveError(f"{strange[0]} does not belong into a backup")
        _refuse_another_database(about, url)
        if not dry_run:
            _write(archive, manifest, target, url)
    _report(archive.head, manifest, about, target, dry_run=dry_run)


def _write(archive: ArchiveReader, manifest: Manifest, target: Path, url: str) -> None:
    """Put everything into a folder beside the target, then into its place in one step."""
    # A mount point cannot be replaced: then the folder beside it is one within, and its entries move.
    is_mount = target.is_mount()
    there = next(path for path in (target, *target.parents) if path.exists())
    free, needed = shutil.disk_usage(there).free, manifest.size_bytes
    if free < needed * 1.05:
        raise OSError(errno.ENOSPC, f"{there} has {free:,} bytes free, the backup needs {needed:,}")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = (target if is_mount else target.parent) / f".{target.name}.restoring"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        archive.extract(draft, manifest)
        _go_on(draft, url)
        os.sync()  # thousands of files: all at once
        if is_mount:
            # The registry first: without it, what comes up would give out its numbers from the beginning.
            for name in ("registry", "secrets", "store", "ingest"):
                if (draft / name).exists():
                    (draft / name).rename(target / name)
            sync_folder(target)
        else:
            draft.rename(target)  # over an empty folder, if there is one
            sync_folder(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _go_on(folder: Path, url: str) -> None:
    """Bring the registry to life, in the folder or in its server."""
    from registry import backup_postgresql
    from registry.backup import FILE, go_on_after_restore

    dump = folder / backup_postgresql.FILE
    if (folder / FILE).exists():
        go_on_after_restore(f"sqlite:///{folder / FILE}")
    elif dump.exists():
        backup_postgresql.restore(url, dump)
        go_on_after_restore(url)
        dump.unlink()
        dump.parent.rmdir()


def _refuse_another_database(about: About, url: str) -> None:
    """The registry goes back to what it was in: a file, or an empty database of a server."""
    from registry import backup_postgresql

    if about.registry == "postgresql" and not backup_postgresql.is_postgresql(url):
        raise CommandError(
            "the registry of this backup was in PostgreSQL",
            remedy="name an empty database: registry.database_url in --config",
        )
    if about.registry == "postgresql" and not backup_postgresql.is_empty(url):
        raise CommandError("the registry's database is not empty: a restore never writes over data")
    if about.registry == "sqlite" and url:
        raise CommandError(
            "the registry of this backup was in SQLite, and registry.database_url names another database",
            remedy="leave registry.database_url empty",
        )


def _refuse_used(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise CommandError(f"{target} is not a folder", ExitCode.USAGE)
    if target.is_dir() and any(target.iterdir()):
        raise CommandError(
            f"{target} is not empty: a restore never writes over data", remedy="name another folder: --data DIR"
        )


def _refuse_newer_format(head: Head) -> None:
    if head.format > FORMAT or _numbers(head.cityfleet) > _numbers(importlib.metadata.version("cityfleet")):
        ours = importlib.metadata.version("cityfleet")
        raise CommandError(
            f"the backup was made by cityfleet {head.cityfleet}, which is newer than this one ({ours})",
            remedy=f"restore it with cityfleet {head.cityfleet} or later",
        )


def _refuse_newer_contents(head: Head, about: About) -> None:
    from registry.backup import known_revisions
    from store import migrate

    newer = []
    if about.store_schema > len(migrate.load()):
        newer.append(f"schema {about.store_schema:04} of the store")
    if about.registry_schema and about.registry_schema not in known_revisions():
        newer.append(f"schema {about.registry_schema} of the registry")
    if (
        about.store in ("frozen", "stopped")
        and _numbers(about.chdb)[:2] > _numbers(importlib.metadata.version("chdb"))[:2]
    ):
        newer.append(f"data of the engine chDB {about.chdb}")
    if newer:
        raise CommandError(
            f"the backup holds {', '.join(newer)}, which this version does not know",
            remedy=f"restore it with cityfleet {head.cityfleet} or later",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _report(head: Head, manifest: Manifest, about: About, target: Path, *, dry_run: bool) -> None:
    print(f"backup of {head.created_at} by cityfleet {head.cityfleet}: {len(manifest.files)} files whole")
    for table, rows in {**about.store_rows, **about.registry_rows}.items():
        print(f"  {table:<28} {rows:>14,} rows")
    if about.store == "server":
        print("  the store is a ClickHouse server: not in this backup")
    if about.registry == "server":
        print("  the registry's database is a server: not in this backup")
    if dry_run:
        print(f"Nothing was written; it would need {manifest.size_bytes:,} bytes.")
    else:
        print(f"Restored into {target}. Start it: cityfleet up --data {target}")


@contextlib.contextmanager
def _errors_said(source: Path) -> Iterator[None]:
    from registry.backup_postgresql import ToolError

    try:
        yield
    except ArchiveError as exc:
        raise CommandError(f"{source}: {exc}", remedy="nothing was written; take another backup") from exc
    except FileNotFoundError as exc:
        raise CommandError(f"{exc.filename}: {exc.strerror}", ExitCode.NOT_FOUND) from exc
    except (ToolError, SQLAlchemyError) as exc:
        raise CommandError(f"{source}: its registry cannot be restored: {exc}") from exc
    except OSError as exc:
        raise CommandError(f"nothing was restored: {exc.strerror or exc}") from exc
