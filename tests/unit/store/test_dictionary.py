"""What can be asked by name is read from the views' SQL, and the page that says so is as they are."""

from pathlib import Path

import pytest

from store import dictionary, migrate, views
from store.catalogue import View, catalogue, view_of

_PAGE = Path(__file__).parents[3] / "docs" / "ioc.md"


def test_the_dictionary_is_as_the_views_say() -> None:
    assert _PAGE.read_text(encoding="utf-8") == dictionary.page(), "run `make docs`"


@pytest.mark.parametrize("view", catalogue(), ids=lambda view: view.name)
def test_every_view_says_what_it_is_with_columns_and_an_example(view: View) -> None:
    assert view.title
    assert view.columns
    assert all(column.comment for column in view.columns)
    assert f"ioc.{view.name}" in view.example[1] or view.name in ("readings", "quality_reasons")


def test_parameters_and_numbers_are_read() -> None:
    daily = view_of("ioc.ward_vn_aqi_daily")
    assert daily is not None
    assert daily.number == 15
    assert daily.parameters == (("from", "DateTime('UTC')"), ("to", "DateTime('UTC')"))
    assert daily.call == "ioc.ward_vn_aqi_daily(from = ..., to = ...)"
    assert daily.example[0] == "October 2026 of one ward."
    assert view_of("no_such_view") is None


def test_the_last_definition_counts() -> None:
    latest = view_of("latest")
    assert latest is not None
    assert next(column.comment for column in latest.columns if column.name == "quality_reasons").endswith(
        "see ioc.quality_reasons"
    )


@pytest.mark.parametrize("view", catalogue(), ids=lambda view: view.name)
def test_no_column_of_a_view_is_passed_over(view: View) -> None:
    texts = [entry.text for entry in (*migrate.load(), *views.load())]
    made = [text for text in texts if f"VIEW ioc.{view.name} {{" in text][-1].split(f"VIEW ioc.{view.name} {{")[-1]
    head = made.partition("\n)\nSQL SECURITY")[0].partition("(\n")[2]
    assert [line.split()[0].strip("`") for line in head.splitlines()] == [column.name for column in view.columns]
