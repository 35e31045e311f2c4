"""Ingest's counters: a text is a stored reading, and the ledger says where each is."""

from pathlib import Path

from ingest.metrics import Ledger, SpoolState, WriteState
from ingest.model import SealedBatch, Segment

READINGS = (5, 2, 3)  # of readings, quarantine, readings_text


def test_texts_are_stored_readings() -> None:
    spool, write = SpoolState(), WriteState()
    ledger = Ledger(lambda: 10, spool, write)
    spool.appended(SealedBatch((b"", b"", b""), (5, 1, 3), READINGS, lambda: None))
    assert ledger.lines()["in_spool"] == 10
    assert ledger.imbalance() == 0
    write.written(Segment("s", Path("s"), 1, (5, 1, 3), READINGS))
    lines = ledger.lines()
    assert (lines["stored"], lines["quarantined"], lines["set_aside"], lines["in_spool"]) == (8, 2, 0, 0)
    assert write.readings == list(READINGS)


def test_what_is_set_aside_is_not_stored() -> None:
    spool, write = SpoolState(), WriteState()
    ledger = Ledger(lambda: 10, spool, write)
    spool.appended(SealedBatch((b"", b"", b""), (5, 1, 3), READINGS, lambda: None))
    write.set_aside(Segment("s", Path("s"), 1, (5, 1, 3), READINGS))
    lines = ledger.lines()
    assert (lines["stored"], lines["quarantined"], lines["set_aside"], lines["in_spool"]) == (0, 0, 10, 0)
