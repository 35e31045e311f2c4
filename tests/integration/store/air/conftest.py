"""A store with air stations, for all tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.support.air import City
from tests.support.store import running_store


@pytest.fixture(scope="package")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    with running_store(tmp_path_factory.mktemp("air")) as store:
        yield City(store)
