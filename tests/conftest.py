"""For all tests: our own commands start as forks of one process that has their imports, unless FORKS=0."""

import os
from collections.abc import Iterator

import pytest

from tests.support import forkserver


def pytest_configure() -> None:
    if os.environ.get("FORKS") != "0":
        forkserver.install()


def pytest_sessionfinish() -> None:
    forkserver.close()


@pytest.fixture(scope="module")
def executed_processes() -> Iterator[None]:
    """For tests that look at memory or at command lines: each process is one of its own from the beginning."""
    with forkserver.executed():
        yield
