"""One store for all tests of this folder that leave it as they found it; each has device numbers of its own."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.fault.proxy import ThreadedProxy, proxy_before
from tests.support.segments import Node
from tests.support.store import StoreHandle, running_store

_devices = itertools.count(1000, 1000)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def proxy(store: StoreHandle) -> Iterator[ThreadedProxy]:
    with proxy_before(("127.0.0.1", store.port)) as running:
        yield running


@pytest.fixture
def node(tmp_path: Path, store: StoreHandle) -> Node:
    return Node(tmp_path, store)


@pytest.fixture
def device() -> int:
    """The first of a thousand that no other test uses."""
    return next(_devices)
