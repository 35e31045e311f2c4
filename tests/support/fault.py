"""Scenarios of `make fault` as tests, a tenth as long."""

import os
import secrets

from loadtest.fault.catalogue import entry
from loadtest.fault.outcome import Outcome
from loadtest.fault.trial import again, perform


def hold(id_: str, scale: float = 0.1) -> Outcome:
    """The scenario passes. CITYFLEET_FAULT_SEED repeats a run."""
    seed = os.environ.get("CITYFLEET_FAULT_SEED") or secrets.token_hex(4)
    outcome = perform(entry(id_), seed, scale=scale, say=print)
    assert not outcome.failed, f"{outcome.failed}\nagain: {again(entry(id_), seed, 0, scale)}"
    return outcome
