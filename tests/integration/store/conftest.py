"""One store for all tests of this folder that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.support.store import StoreHandle, running_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("store")) as running:
        yield running
