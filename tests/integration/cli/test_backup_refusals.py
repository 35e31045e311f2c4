"""Backup and restore with what should not be: damaged and foreign archives, newer versions, full disks."""

import contextlib
import fcntl
import importlib.metadata
import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from cli.backup import About
from cli.errors import exit_code_of
from cli.main import app
from registry import backup
from runtime import runfile
from runtime.archive import FORMAT, ArchiveReader, ArchiveWriter, Head, Source

REGISTRY = Path(__file__).parents[2] / "data/upgrade/registry-0002.sql"
VERSION = importlib.metadata.version("cityfleet")
CHDB = importlib.metadata.version("chdb")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def cityfleet(*arguments: str | Path) -> Done:
    """Run the command in this process: starting one takes longer than all that it does here."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app([*map(str, arguments)], standalone_mode=False)
        except Exception as exc:
            code = exit_code_of(exc)
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def same_priority(monkeypatch):
    """Or all tests behind these would give way too."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)


@pytest.fixture
def data(tmp_path) -> Path:
    """A data folder without a store: a registry, a spool, a secret."""
    folder = tmp_path / "data"
    for name, content in {
        "ingest/spool/abc-1.seg": os.urandom(200_000),
        "ingest/spool/node": b"abc",
        "ingest/spool/next": b"1001",
        "ingest/spool/abc-0.spare": b"old",
        "ingest/spool-1/def-7.seg": b"of a second worker",
        "ingest/spool-1/node": b"def",
        "ingest/ledger.json": b"{}",
        "ingest/ledger-1.json": b"{}",
        "ingest/index": b"index",
        "secrets/internal": b"secret",
        "run/up.lock": b"",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "registry").mkdir()
    with closing(sqlite3.connect(folder / backup.FILE)) as database:
        database.executescript(REGISTRY.read_text(encoding="utf-8"))
    return folder


@pytest.fixture
def archive(tmp_path, data) -> Path:
    path = tmp_path / "archive"
    assert cityfleet("backup", path, "--data", data).returncode == 0
    return path


def written(path: Path, head: Head, about: About, name: str = "secrets/x") -> Path:
    """An archive with one file, that says this of itself."""
    content = path.with_name("content")
    content.write_bytes(b"x")
    with path.open("wb") as file, ArchiveWriter(file, head) as writer:
        writer.add(Source(name, content))
        writer.finish(about)
    return path


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 1 MB with 100 kB free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs of 1 MB can be mounted by root only")
    try:
        (folder / "filler").write_bytes(bytes(900_000))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_backup_holds_what_counts_and_nothing_else(archive):
    names = {entry.path for entry in ArchiveReader(archive).check().files}
    assert names == {
        "ingest/spool-1/def-7.seg",
        "ingest/spool/abc-1.seg",
        "ingest/spool/next",
        "ingest/index",
        "registry/registry.db",
        "secrets/internal",
    }


def test_a_restored_registry_goes_on_behind_what_the_old_one_gave_out(tmp_path, data, archive):
    assert cityfleet("restore", archive, "--data", tmp_path / "new").returncode == 0

    def state(folder: Path) -> dict[str, Any]:
        with closing(sqlite3.connect(folder / backup.FILE)) as database:
            database.row_factory = sqlite3.Row
            return dict(database.execute("SELECT * FROM registry_state").fetchone())

    before, after = state(data), state(tmp_path / "new")
    assert before.pop("registry_id") != after.pop("registry_id")
    for name in ("revision", "last_device_num", "last_site_num", "last_group_num", "last_operation_num"):
        assert after.pop(name) == before.pop(name, 0) + 1_000_000
    for name in ("last_metric_num", "last_type_num"):
        assert after.pop(name) == before.pop(name) + 100
    assert before == after
    with closing(sqlite3.connect(tmp_path / "new" / backup.FILE)) as database:
        assert database.execute("SELECT count(*) FROM sync_positions").fetchone() == (0,)
    assert not list((tmp_path / "new/registry").glob("*-*"))  # no log beside it


def test_a_backup_over_a_pipe_is_the_same(tmp_path, data):
    with (tmp_path / "piped").open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "backup", "-", "--data", data], stdout=file, timeout=60
        )
    assert done.returncode == 0
    assert len(ArchiveReader(tmp_path / "piped").check().files) == 6


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_damaged_archive_leaves_nothing(tmp_path, archive, damage):
    whole = archive.read_bytes()
    middle = len(whole) // 2
    archive.write_bytes(whole[:middle] if damage == "cut" else whole[:middle] + bytes(4) + whole[middle + 4 :])
    done = cityfleet("restore", archive, "--data", tmp_path / "new/data")
    assert done.returncode == 1
    assert "nothing was written" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("head", "about"),
    [
        (Head(FORMAT + 1, VERSION, ""), About(CHDB)),
        (Head(FORMAT, "99.0.0", ""), About(CHDB)),
        (Head(FORMAT, VERSION, ""), About("99.0.0", store="stopped")),
        (Head(FORMAT, VERSION, ""), About(CHDB, store="frozen", store_rows={"cityfleet.migrations": 99})),
        (Head(FORMAT, VERSION, ""), About(CHDB, registry="sqlite", registry_schema="9999")),
    ],
    ids=["format", "cityfleet", "engine", "store", "registry"],
)
def test_an_archive_of_a_newer_version_is_refused(tmp_path, head, about):
    done = cityfleet("restore", written(tmp_path / "archive", head, about), "--data", tmp_path / "new")
    assert done.returncode == 1
    assert "newer" in done.stderr or "does not know" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["run/up.lock", "elsewhere", "store/config/config.xml"])
def test_files_that_a_backup_never_has_are_refused(tmp_path, name):
    path = written(tmp_path / "archive", Head(FORMAT, VERSION, ""), About(CHDB), name)
    done = cityfleet("restore", path, "--data", tmp_path / "new")
    assert done.returncode == 1
    assert "does not belong" in done.stderr
    assert not (tmp_path / "new").exists()


def test_an_archive_whose_about_is_something_else_is_refused(tmp_path):
    path = tmp_path / "archive"
    with path.open("wb") as file, ArchiveWriter(file, Head(FORMAT, VERSION, "")) as writer:
        writer.finish({"store": 7})
    assert cityfleet("restore", path, "--data", tmp_path / "new").returncode == 1


def test_a_dry_run_writes_nothing(tmp_path, data, archive):
    done = cityfleet("restore", archive, "--data", tmp_path / "new", "--dry-run")
    assert done.returncode == 0
    assert "Nothing was written" in done.stdout
    assert not (tmp_path / "new").exists()
    assert cityfleet("backup", tmp_path / "other", "--data", data, "--dry-run").returncode == 0
    assert not (tmp_path / "other").exists()


def test_a_file_that_is_there_is_not_overwritten(archive, data):
    before = archive.read_bytes()
    done = cityfleet("backup", archive, "--data", data)
    assert done.returncode == 1
    assert archive.read_bytes() == before


def test_one_backup_at_a_time(tmp_path, data):
    with runfile.Lock(data, "backup"):
        done = cityfleet("backup", tmp_path / "archive", "--data", data)
    assert done.returncode == 1
    assert "already running" in done.stderr
    assert not (tmp_path / "archive").exists()


def test_a_store_that_runs_and_does_not_answer_is_an_error(tmp_path, data, monkeypatch):
    (data / "store").mkdir()
    with (data / "store/lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setenv("CITYFLEET_STORE__LISTEN__PORT", "1")
        done = cityfleet("backup", tmp_path / "archive", "--data", data)
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert not list(tmp_path.glob("archive*"))


def test_a_damaged_registry_is_an_error(tmp_path, data):
    (data / backup.FILE).write_bytes(b"SQLite format 3\0" + os.urandom(8000))
    done = cityfleet("backup", tmp_path / "archive", "--data", data)
    assert done.returncode == 1
    assert "no backup was made" in done.stderr
    assert not list(tmp_path.glob("archive*"))
    assert not (data / "run/backup").exists()


def test_a_full_disk_leaves_no_half_of_a_backup(small_disk, data):
    done = cityfleet("backup", small_disk / "archive", "--data", data)
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_full_disk_leaves_no_half_of_a_restore(small_disk, archive):
    done = cityfleet("restore", archive, "--data", small_disk / "data")
    assert done.returncode == 1
    assert "bytes free" in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_file_system_of_its_own_is_filled_in_place(small_disk, archive):
    (small_disk / "filler").unlink()
    done = cityfleet("restore", archive, "--data", small_disk)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in small_disk.iterdir()) == ["ingest", "registry", "secrets"]


def test_what_a_restore_that_was_killed_left_is_in_nobodys_way(tmp_path, archive):
    (tmp_path / ".new.restoring/store").mkdir(parents=True)
    assert cityfleet("restore", archive, "--data", tmp_path / "new").returncode == 0
    assert not (tmp_path / ".new.restoring").exists()
    assert (tmp_path / "new/secrets/internal").read_bytes() == b"secret"


def test_a_manifest_says_what_is_in_it(archive):
    manifest = ArchiveReader(archive).check()
    about = msgspec.json.decode(manifest.about, type=About)
    assert about.registry_schema == "0002"
    assert about.registry_rows["devices"] == 3
    assert about.store == "none"
