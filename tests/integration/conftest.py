"""One platform for all integration tests that only add to it: started as a user starts it, stopped at the end."""

from collections.abc import Iterator

import pytest

from loadtest.platform import Platform, running_platform
from tests.support.provision import Provisioner


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(
        tmp_path_factory.mktemp("platform"),
        # Nobody here asks for rollups, which would be computed beside all tests.
        "ingest.mqtt.connect_timeout_s = 2.0\ningest.state.report_interval_s = 0.5\nstore.rollup.enabled = false\n",
    ) as started:
        yield started


@pytest.fixture(scope="session")
def fleet(platform: Platform) -> Iterator[Provisioner]:
    """The registry's API, with the types `gauge` (water level, 0 to 20 m; rain) and `gateway`."""
    with Provisioner(platform.registry_channel(), platform.mqtt_port) as provisioner:
        provisioner.type("gauge", {"water_level_m": (0, 20), "rain_mm": None, "temperature_cel": None})
        provisioner.type("gateway", {"battery_pct": (0, 100)}, is_gateway=True)
        yield provisioner
