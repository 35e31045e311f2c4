"""Roles lose their power under load: what was acknowledged had been synced, and what was half written is no harm."""

import pytest

from tests.support.fault import hold

pytestmark = pytest.mark.timeout(300)


def test_ingest_loses_nothing_acknowledged_by_a_power_loss():
    hold("power_ingest")


@pytest.mark.slow
def test_a_device_that_the_registry_has_created_survives_a_power_loss():
    hold("power_registry")


def test_a_machine_with_all_roles_loses_and_doubles_nothing_by_a_power_loss():
    hold("power_machine")
