"""The layout: who may import whom, and files that name their one idea."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"ext", "runtime", "store", "ingest", "registry", "loadtest", "share", "cli", "cityfleet", "cityfleet_ioc"}
ALLOWED = {
    "ext": {"ext"},
    "runtime": {"runtime"},
    "store": {"store", "runtime"},
    "ingest": {"ingest", "ext", "runtime", "store", "cityfleet"},
    "registry": {"registry", "runtime", "store", "cityfleet"},
    "loadtest": {"loadtest", "ext", "runtime", "cityfleet"},
    "share": {"share", "runtime", "store"},
    "cli": OURS - {"cityfleet_ioc"},
    # The package for modules of others: it goes without ours.
    "ioc/src/cityfleet_ioc": {"cityfleet_ioc"},
}
STAGES = {"transport", "decode", "resolve", "batch", "spool", "write"}
SOURCES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that the file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_there_is_something_to_check():
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_only_where_they_may(path):
    package = next(package for package in ALLOWED if path.is_relative_to(ROOT / package))
    ours = {name.split(".")[0] for name in imported(path)} & OURS
    assert ours <= ALLOWED[package]


@pytest.mark.parametrize("path", sorted((ROOT / "ext").rglob("*.p*x*")), ids=lambda path: str(path.relative_to(ROOT)))
def test_extensions_cimport_only_extensions(path):
    found = re.findall(r"^from (\w+)[\w.]* c?import|^c?import (\w+)", path.read_text(encoding="utf-8"), re.M)
    assert not {name for pair in found for name in pair} & (OURS - {"ext"})


@pytest.mark.parametrize("path", sorted((ROOT / "ingest").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_stage_of_ingest_imports_another(path):
    parts = path.relative_to(ROOT / "ingest").parts
    if parts[0] not in STAGES:
        return
    stages = {
        name.split(".")[1] for name in imported(path) if name.startswith("ingest.") and name.split(".")[1] in STAGES
    }
    assert stages <= {parts[0]}


def test_no_file_is_a_drawer_for_everything():
    drawers = {"utils.py", "helpers.py", "common.py", "misc.py"}
    assert not [path for path in SOURCES if path.name in drawers]


def test_nobody_imports_folders_that_other_packages_own():
    assert not (ROOT / "proto" / "__init__.py").exists()
    assert not (ROOT / "ops" / "__init__.py").exists()
