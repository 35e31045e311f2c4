"""docs/mqtt-conformance.md has every normative statement of MQTT 5.0 once, and names tests that exist."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "mqtt-conformance.md"
FOLDERS = ["conformance/mqtt", "integration/mqtt", "integration", "property", "unit/ext/mqtt"]

# Statements in each section of the standard: numbered from 1, but where a range says otherwise.
SECTIONS = {
    "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": range(2, 7), "2.2.2": 1, "3.1.0": 2, "3.1.2": 30,
    "3.1.3": 12, "3.1.4": 6, "3.2.0": 2, "3.2.2": 22, "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3,
    "3.6.1": 1, "3.6.2": 3, "3.7.2": 3, "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2, "3.9.3": 2, "3.10.1": 1,
    "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2, "3.12.4": 1, "3.14.0": 1, "3.14.1": 1, "3.14.2": 4,
    "3.14.4": 3, "3.15.1": 1, "3.15.2": 3, "4.1.0": 2, "4.2": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2,
    "4.5.0": 2, "4.6.0": 6, "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3, "4.12.0": 7,
    "4.12.1": 2, "4.13.1": 1, "4.13.2": 1, "6.0.0": 4,
}  # fmt: skip


def statements() -> list[str]:
    numbers = {section: n if isinstance(n, range) else range(1, n + 1) for section, n in SECTIONS.items()}
    return [f"MQTT-{section}-{number}" for section, of in numbers.items() for number in of]


def rows() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| MQTT-")]


def functions(stem: str) -> set[str]:
    """Test functions of the file of that name."""
    (path,) = [path for folder in FOLDERS if (path := TESTS / folder / f"{stem}.py").exists()]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_statement_is_on_the_page_once():
    found = re.findall(r"MQTT-[0-9.]+-[0-9]+", PAGE.read_text(encoding="utf-8"))
    assert sorted(found) == sorted(statements())


def test_every_row_names_tests_and_all_of_them_exist():
    known: dict[str, set[str]] = {}
    for statement, words, tests in rows():
        assert words, statement
        names = re.findall(r"`([^`]+)`", tests)
        assert names, f"{statement} has no test"
        for name in names:
            if name.startswith("cases/"):
                assert (TESTS / "conformance" / "mqtt" / name / "input.bin").exists(), (statement, name)
                continue
            stem, _, function = name.partition("::")
            if stem not in known:
                known[stem] = functions(stem)
            assert function in known[stem], (statement, name)


def test_every_case_names_its_rule():
    for path in (TESTS / "conformance" / "mqtt" / "cases").glob("*/expected.json"):
        assert '"rule": ""' not in path.read_text(encoding="utf-8"), path
