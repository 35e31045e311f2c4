"""Scenarios of `make fault`, much shorter: nothing acknowledged is lost, nothing is there twice."""

import os
import secrets

import pytest

from loadtest.fault.catalogue import entry
from loadtest.fault.trial import again, perform

SCALE = 0.1  # twenty kills of ingest
SHORT = 0.05
# store_slow is left to `make fault`: a full rate is no load for a machine that runs other tests.
SLOW = ("kill_all", "kill_workers", "store_cut", "store_stopped", "registry_away", "chaos")
QUICK = ("kill_store", "store_500", *(pytest.param(id_, marks=pytest.mark.slow) for id_ in SLOW))


@pytest.mark.timeout(300)
def test_no_acknowledged_reading_is_lost_when_ingest_is_killed_twenty_times():
    hold("kill_ingest", SCALE)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("id_", QUICK)
def test_no_acknowledged_reading_is_lost(id_):
    hold(id_, SHORT)


def hold(id_, scale):
    """CITYFLEET_FAULT_SEED repeats a run."""
    seed = os.environ.get("CITYFLEET_FAULT_SEED") or secrets.token_hex(4)
    outcome = perform(entry(id_), seed, scale=scale, say=print)
    assert not outcome.failed, f"{outcome.failed}\nagain: {again(entry(id_), seed, 0, scale)}"
