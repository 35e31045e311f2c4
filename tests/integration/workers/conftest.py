"""One platform with two workers for all tests of workers that leave it running."""

import time
from collections.abc import Iterator

import pytest

from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner
from tests.support.workers import DEVICES, per_worker


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(
        tmp_path_factory.mktemp("workers"), "ingest.workers = 2\nstore.rollup.enabled = false\n"
    ) as started:
        yield started


@pytest.fixture(scope="package")
def tokens(platform: Platform) -> dict[str, str]:
    with Provisioner(platform.registry_channel()) as fleet:
        fleet.type("gauge", {"water_level_m": (0, 20)})
        found = {f"wl-{number}": fleet.device(f"wl-{number}", "gauge") for number in range(DEVICES)}
    deadline = time.monotonic() + 60
    while sorted(per_worker(platform, "cityfleet_ingest_index_devices").values()) != [DEVICES, DEVICES]:
        assert time.monotonic() < deadline, "the workers do not know the devices"
        time.sleep(0.05)
    return found
