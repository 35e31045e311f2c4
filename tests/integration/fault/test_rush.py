"""Crowds at the door and senders that are too fast: those inside are served, and who can wait gets in."""

import pytest

from tests.support.fault import hold

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_everybody_gets_in_when_all_come_again_at_once():
    hold("reconnect_storm")


@pytest.mark.slow
def test_clients_that_never_finish_their_connect_keep_nobody_out():
    hold("slow_loris")


def test_over_its_quota_a_device_is_refused_by_name_or_waits_and_nobody_else_does():
    hold("over_quota")
