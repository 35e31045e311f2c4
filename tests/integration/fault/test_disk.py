"""Disks that damage what they keep, or are full: what is gone is told, what is left goes on."""

import os

import pytest

from tests.support.fault import hold

pytestmark = pytest.mark.timeout(300)


def test_of_a_damaged_spool_no_more_is_missing_than_recovery_says():
    hold("spool_damaged")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_on_a_full_disk_nothing_is_acknowledged_and_all_goes_on_when_there_is_room():
    if any(note.startswith("skipped") for note in hold("disk_full").notes):
        pytest.skip("no tmpfs can be mounted here")
