"""Every table and view of the real schema has a rule for accounts of wards, and fits it."""

from collections.abc import Mapping

from store.access.check import problems, tables
from store.access.declared import Rule, declared
from tests.support.store import StoreHandle


def _found(store: StoreHandle):  # type: ignore[no-untyped-def]
    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        return store.query(sql, "admin").rstrip("\n")

    return tables(ask)


def test_every_table_and_view_has_a_rule_and_fits_it(store: StoreHandle) -> None:
    assert [f"{problem.name} {problem.what}" for problem in problems(_found(store), declared())] == []


def test_a_table_without_a_rule_is_named(store: StoreHandle) -> None:
    try:
        store.query("CREATE TABLE cityfleet.stray (ward_code String) ENGINE = Memory", "admin")
        store.query("CREATE VIEW ioc.stray AS SELECT * FROM cityfleet.quarantine", "admin")
        found = _found(store)
        named = {problem.name: problem.what for problem in problems(found, declared())}
        assert named == {
            "cityfleet.stray": "has no rule in visibility.toml (Memory)",
            "ioc.stray": "has no rule in visibility.toml (View)",
        }
        stray = [table for table in found if table.name == "ioc.stray"]
        loose = type(declared())({"ioc.stray": Rule.VIEW}, ())
        assert [problem.what for problem in problems(stray, loose)] == [
            "does not say SQL SECURITY INVOKER: it could read as its maker",
            "reads cityfleet.quarantine, which is hidden: accounts of wards get an error",
        ]
    finally:
        store.query("DROP TABLE IF EXISTS cityfleet.stray SYNC", "admin")
        store.query("DROP VIEW IF EXISTS ioc.stray SYNC", "admin")


def test_rows_by_ward_need_their_columns(store: StoreHandle) -> None:
    found = [table for table in _found(store) if table.name == "cityfleet.metrics"]
    loose = type(declared())({"cityfleet.metrics": Rule.WARD_AND_METRIC}, ())
    assert [problem.what for problem in problems(found, loose)] == ["has no column ward_code"]
    view = type(declared())({"cityfleet.metrics": Rule.VIEW}, ())
    assert "its rule cannot be view" in problems(found, view)[0].what


def test_a_view_may_look_up_a_number_by_its_name_and_nothing_else(store: StoreHandle) -> None:
    loose = type(declared())({"ioc.stray": Rule.VIEW}, ())
    store.query("CREATE TABLE cityfleet.other_numbers AS cityfleet.device_numbers", "admin")
    try:
        for table, found in (
            ("device_numbers", []),
            ("other_numbers", ["calls joinGet, which row conditions do not reach"]),
        ):
            look_up = f"SELECT joinGet('cityfleet.{table}', 'device_num', 'x') AS number"
            store.query(f"CREATE OR REPLACE VIEW ioc.stray SQL SECURITY INVOKER AS {look_up}", "admin")
            stray = [one for one in _found(store) if one.name == "ioc.stray"]
            assert [problem.what for problem in problems(stray, loose)] == found
    finally:
        store.query("DROP VIEW IF EXISTS ioc.stray SYNC", "admin")
        store.query("DROP TABLE cityfleet.other_numbers SYNC", "admin")
