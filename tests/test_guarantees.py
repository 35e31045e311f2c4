"""The guarantees: the README has them word for word, and every test and scenario named for them exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from loadtest.fault.catalogue import ENTRIES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", PAGE)))
SCENARIOS = sorted(set(re.findall(r"`fault/(\w+)`", PAGE)) - {"NAME"})
SECTIONS = re.split(r"^## (?=\d)", PAGE, flags=re.M)[1:]
TITLES = ("Ack rule", "No acked loss", "Duplicates", "Bounded memory and disk", "Poison safety", "Accounting")


@cache
def functions(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("path", "name"), TESTS, ids=[name for _, name in TESTS])
def test_the_named_test_exists(path, name):
    assert name in functions(path)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_named_scenario_exists(name):
    assert name in {entry.id for entry in ENTRIES}


def test_every_scenario_is_named():
    assert {entry.id for entry in ENTRIES} == set(SCENARIOS)


@pytest.mark.parametrize(("number", "title"), list(enumerate(TITLES, start=1)), ids=TITLES)
def test_the_readme_has_the_guarantee_word_for_word_and_it_has_tests(number, title):
    section = SECTIONS[number - 1]
    assert section.startswith(f"{number}. {title}\n")
    (said,) = re.findall(r"^> (.+)$", section, re.M)
    assert said.startswith(f"**{title}")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{number}. {said}" in " ".join(readme.split())
    assert re.search(r"`tests/[\w/.]+\.py::\w+`", section)


def test_nothing_in_the_tables_is_written_so_that_it_is_not_checked():
    """Whatever looks like a test is one of those above."""
    loose = re.findall(r"\btest_\w+", re.sub(r"`tests/[\w/.]+\.py::\w+`", "", PAGE))
    assert not loose
