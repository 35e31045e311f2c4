"""Files of views are applied in order after the migrations, again when one differs, and may hold nothing but views."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from store import views
from store.migrate import MigrationError


class Store:
    """Remembers statements; answers what is asked about the files that were applied."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.recorded: dict[str, str] = {}

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        if sql.startswith("SELECT count() FROM system.tables"):
            return "1"
        if sql.startswith("SELECT name, checksum"):
            return "\n".join(f"{name}\t{checksum}" for name, checksum in self.recorded.items())
        if params:
            self.recorded[params["name"]] = params["checksum"]
        elif "view_files" not in sql and "DATABASE" not in sql:
            self.statements.append(sql.split()[4])
        return ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.sql").write_text(
            f"-- why\nCREATE OR REPLACE VIEW ioc.{name} {{on_cluster}}\nAS SELECT 1;\n"
        )
    return tmp_path


def test_views_are_applied_in_the_order_of_their_names_and_once(folder: Path) -> None:
    store = Store()
    assert [view.name for view in views.apply(store, "single", folder)] == ["a.sql", "b.sql", "c.sql"]
    assert store.statements == ["ioc.a", "ioc.b", "ioc.c"]
    assert views.apply(store, "single", folder) == []


def test_a_file_that_differs_is_applied_again_with_all_after_it(folder: Path) -> None:
    store = Store()
    views.apply(store, "single", folder)
    (folder / "b.sql").write_text("CREATE OR REPLACE VIEW ioc.b {on_cluster}\nAS SELECT 2;\n")
    assert [view.name for view in views.status(store, folder)[1]] == ["b.sql", "c.sql"]
    store.statements.clear()
    views.apply(store, "single", folder)
    assert store.statements == ["ioc.b", "ioc.c"]


def test_a_run_that_breaks_off_begins_anew(folder: Path) -> None:
    store = Store()

    def breaks(sql: str, params: Mapping[str, str] | None = None) -> str:
        if "ioc.c" in sql:
            raise ConnectionError
        return store(sql, params)

    with pytest.raises(ConnectionError):
        views.apply(breaks, "single", folder)
    assert [view.name for view in views.apply(store, "single", folder)] == ["a.sql", "b.sql", "c.sql"]


@pytest.mark.parametrize(
    "text", ["DROP TABLE cityfleet.readings;\n", "CREATE OR REPLACE VIEW cityfleet.x AS SELECT 1;\n", "SELECT 1;\n"]
)
def test_a_file_that_does_more_than_views_of_ioc_is_refused(folder: Path, text: str) -> None:
    (folder / "d.sql").write_text(text)
    with pytest.raises(MigrationError, match=r"d\.sql"):
        views.load(folder)


def test_the_files_that_come_with_cityfleet_are_well_formed() -> None:
    views.load()
