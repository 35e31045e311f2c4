"""An external broker goes, comes back empty, or a consumer goes: what the broker keeps is stored, and seen once."""

import pytest

from loadtest.fault.mosquitto import IS_THERE
from tests.support.fault import hold

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not IS_THERE, reason="mosquitto is not installed"),
]


def test_a_restart_of_the_broker_loses_nothing():
    hold("broker_restarted")


def test_of_a_broker_that_was_wiped_only_its_own_queue_is_lost():
    hold("broker_wiped")


def test_killing_one_of_two_consumers_loses_nothing():
    hold("broker_consumer_killed")
