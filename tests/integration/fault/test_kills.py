"""Scenarios of `make fault` with kill -9, a tenth as long: nothing acknowledged is lost, nothing is there twice."""

import os
import secrets

import pytest

from loadtest.fault.catalogue import entry
from loadtest.fault.trial import again, perform

SCALE = 0.1


@pytest.mark.timeout(300)
def test_no_acknowledged_reading_is_lost_when_ingest_is_killed_twenty_times():
    hold("kill_ingest")


def hold(id_: str) -> None:
    """CITYFLEET_FAULT_SEED repeats a run."""
    seed = os.environ.get("CITYFLEET_FAULT_SEED") or secrets.token_hex(4)
    outcome = perform(entry(id_), seed, scale=SCALE, say=print)
    assert not outcome.failed, f"{outcome.failed}\nagain: {again(entry(id_), seed, 0, SCALE)}"
