"""Garbage and wrong clocks: quarantine has what cannot be stored, everything else goes on as before."""

import pytest

from loadtest.fault.clocks import find_library
from tests.support.fault import hold

pytestmark = pytest.mark.timeout(300)


def test_thousands_of_undecodable_payloads_are_in_nobodys_way():
    hold("poison")


def test_impossible_times_of_devices_are_in_quarantine_and_odd_ones_stored():
    hold("clock_of_devices")


@pytest.mark.slow
@pytest.mark.skipif(find_library() is None, reason="libfaketime is not installed")
def test_ingest_does_not_mind_steps_of_its_own_clock():
    hold("clock_of_host")
