"""Migrations are applied in order and once; a changed or missing one is refused."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from store import migrate
from store.migrate import MigrationError


class Store:
    """Remembers statements; answers what migrate asks about its own table."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.recorded: dict[int, tuple[str, str]] = {}

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        if sql.startswith("SELECT count() FROM system.tables"):
            return "1"
        if sql.startswith("SELECT number, name, checksum"):
            return "\n".join(f"{number}\t{name}\t{checksum}" for number, (name, checksum) in self.recorded.items())
        if params:
            self.recorded[int(params["number"])] = (params["name"], params["checksum"])
            return ""
        self.statements.append(sql)
        return ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_one.sql").write_text("-- why\nCREATE TABLE a {on_cluster} (x Int8) ENGINE = {merge_tree};\n")
    (tmp_path / "0002_two.sql").write_text("CREATE TABLE b (x String DEFAULT ';');\nCREATE TABLE c;\n")
    return tmp_path


def test_pending_migrations_are_applied_in_order_and_once(folder: Path) -> None:
    store = Store()
    assert [migration.number for migration in migrate.apply(store, "single", folder)] == [1, 2]
    made = [sql for sql in store.statements if "migrations" not in sql and "DATABASE" not in sql]
    assert made == [
        "CREATE TABLE a  (x Int8) ENGINE = MergeTree",
        "CREATE TABLE b (x String DEFAULT ';')",
        "CREATE TABLE c",
    ]
    assert migrate.apply(store, "single", folder) == []
    (folder / "0003_three.sql").write_text("CREATE TABLE d;\n")
    assert [migration.name for migration in migrate.apply(store, "single", folder)] == ["three"]


def test_a_changed_migration_is_refused(folder: Path) -> None:
    store = Store()
    migrate.apply(store, "single", folder)
    (folder / "0001_one.sql").write_text("CREATE TABLE other;\n")
    with pytest.raises(MigrationError, match="0001_one was changed"):
        migrate.apply(store, "single", folder)


def test_data_of_a_newer_version_is_refused(folder: Path) -> None:
    store = Store()
    migrate.apply(store, "single", folder)
    (folder / "0002_two.sql").unlink()
    with pytest.raises(MigrationError, match="0002_two, which this version does not know"):
        migrate.status(store, folder)


@pytest.mark.parametrize("name", ["0004_gap.sql", "0002_again.sql", "readme.sql"])
def test_gaps_doubles_and_bad_names_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("SELECT 1;\n")
    with pytest.raises(MigrationError):
        migrate.load(folder)


@pytest.mark.parametrize("profile", ["single", "cluster"])
def test_no_placeholder_is_left_over(profile: str) -> None:
    for migration in migrate.load():
        for statement in migration.statements(profile):
            assert re.findall(r"\{(?!cluster\}|\w+:)", statement) == []


def test_every_table_that_inserts_reach_has_a_deduplication_window() -> None:
    for migration in migrate.load():
        for statement in migration.statements("single"):
            if statement.startswith("CREATE TABLE") and " AS cityfleet." not in statement:  # that is like another
                assert "non_replicated_deduplication_window = 10000" in statement
