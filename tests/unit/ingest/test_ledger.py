"""The ledger: it balances at every moment while readings move, and names the stage at which one is missing."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ingest.ledger import Ledger, StageCounts, messages_rejected, messages_taken, unacknowledged
from ingest.metrics import SpoolState, WriteState
from ingest.model import SealedBatch, Segment

READINGS = (5, 2, 3)  # of readings, quarantine, readings_text
BATCH = SealedBatch((b"", b"", b""), (5, 1, 3), READINGS, lambda: None)
SEGMENT = Segment("s", Path("s"), 1, (5, 1, 3), READINGS)
NOTHING = {
    "taken": 0, "rejected": {}, "handed_on": 0, "frames_waiting": 0, "frames_decoded": 0, "decoded": 0,
    "refused_by_decode": {}, "resolve_in": 0, "resolved": 0, "refused": {}, "in_columns": 0, "sealed": 0,
    "sealed_waiting": 0, "closed_waiting": 0,
}  # fmt: skip
# Four messages, one of which could not be decoded, gave ten readings, of which one more was refused.
DECODED = {
    "taken": 4, "handed_on": 4, "frames_decoded": 4, "decoded": 9, "refused_by_decode": {"malformed_payload": 1},
    "resolve_in": 10, "resolved": 8, "refused": {"malformed_payload": 1, "unknown_metric": 1},
}  # fmt: skip


class Flow:
    """The counts of a pipeline as a test moves them."""

    def __init__(self) -> None:
        self.counts: dict[str, object] = dict(NOTHING)
        self.spool, self.write = SpoolState(), WriteState()
        self.ledger = Ledger(lambda: StageCounts(**self.counts), self.spool, self.write)  # type: ignore[arg-type]

    def has(self, **counts: object) -> None:
        """Set these, and hold that the ledger balances, whatever is on its way."""
        self.counts.update(counts)
        now = self.ledger.now()
        assert now.breaks() == []
        entries = now.entries
        assert entries["received"] + entries["recovered"] == sum(list(entries.values())[2:])

    def closed(self) -> "Flow":
        """All ten readings are in a closed segment, and nobody has it."""
        self.counts.update(DECODED, sealed=10)
        self.spool.took(BATCH)
        self.spool.appended(BATCH)
        self.spool.closed(SEGMENT)
        return self

    def stored(self) -> "Flow":
        """All ten readings are in ClickHouse."""
        self.closed()
        self.write.took(SEGMENT)
        self.write.written(SEGMENT)
        self.has()
        return self


def test_it_balances_at_every_step_of_the_way():
    flow = Flow()
    flow.has(taken=4)
    flow.has(handed_on=4, frames_waiting=4)
    flow.has(**DECODED, frames_waiting=0, in_columns=10)
    assert flow.ledger.now().entries["in_flight"] == 10
    flow.has(in_columns=0, sealed=10, sealed_waiting=10)
    flow.spool.took(BATCH)
    flow.has(sealed_waiting=0)
    flow.spool.appended(BATCH)
    flow.has()
    assert flow.ledger.now().entries["in_flight"] == 0
    assert flow.ledger.now().entries["in_spool"] == 10
    flow.spool.closed(SEGMENT)
    flow.has(closed_waiting=10)
    flow.write.took(SEGMENT)
    flow.has(closed_waiting=0)
    assert flow.ledger.now().entries["in_spool"] == 10
    flow.write.written(SEGMENT)
    flow.has()
    entries = flow.ledger.now().entries
    assert (entries["stored"], entries["quarantined"], entries["in_spool"]) == (8, 2, 0)


def test_what_the_run_before_left_in_the_spool_is_written_beside_the_new():
    flow = Flow()
    flow.spool.found(SEGMENT)
    flow.has(closed_waiting=10)
    flow.write.took(SEGMENT)
    flow.has(closed_waiting=0)
    flow.write.written(SEGMENT)
    flow.stored().has()
    assert flow.ledger.now().entries["recovered"] == 10
    assert flow.ledger.now().entries["stored"] == 16


def test_what_is_set_aside_is_not_stored():
    flow = Flow().closed()
    flow.write.took(SEGMENT)
    flow.write.set_aside(SEGMENT)
    flow.has()
    entries = flow.ledger.now().entries
    assert (entries["stored"], entries["quarantined"], entries["set_aside"], entries["in_spool"]) == (0, 0, 10, 0)


def test_what_the_store_refused_is_in_quarantine():
    flow = Flow().closed()
    flow.write.took(SEGMENT)
    flow.write.written(SEGMENT, refused=(1, 0, 2))
    flow.has()
    entries = flow.ledger.now().entries
    assert (entries["stored"], entries["quarantined"]) == (5, 5)


@pytest.mark.parametrize(
    ("broken", "stage", "missing"),
    [
        ({"handed_on": 3}, "decode", -1),
        ({"handed_on": 6}, "transport", -2),
        ({"frames_decoded": 3}, "decode", 1),
        ({"resolve_in": 9}, "resolve", 1),
        ({"resolved": 7}, "resolve", 1),
        ({"sealed": 9}, "batch", 1),
    ],
)
def test_a_break_names_its_stage(broken, stage, missing):
    flow = Flow().stored()
    flow.counts.update(broken)
    found = {(one.stage, one.missing) for one in flow.ledger.now().breaks()}
    assert (stage, missing) in found


def test_a_batch_that_spool_never_saw_breaks_at_spool():
    flow = Flow()
    flow.has(**DECODED, sealed=10, sealed_waiting=10)
    flow.counts["sealed_waiting"] = 0
    (fault,) = flow.ledger.now().breaks()
    assert (fault.stage, fault.missing) == ("spool", 10)
    assert fault.text == "batch gave 10 readings, spool has 0"


def test_a_segment_that_write_never_saw_breaks_at_write():
    flow = Flow().closed()
    (fault,) = flow.ledger.now().breaks()
    assert (fault.stage, fault.missing) == ("write", 10)


def test_at_the_end_transports_must_have_given_on_all_that_they_took():
    flow = Flow().stored()
    flow.has(taken=5)  # one is being gathered
    (fault,) = flow.ledger.now().breaks(is_final=True)
    assert (fault.stage, fault.missing, fault.unit) == ("transport", 1, "messages")


def test_what_was_not_on_disk_at_the_end_is_no_break():
    flow = Flow()
    flow.has(**DECODED | {"taken": 6, "handed_on": 6}, frames_waiting=2, sealed=10, sealed_waiting=10)
    now = flow.ledger.now()
    assert now.breaks(is_final=True) == []
    assert unacknowledged(now.stages) == {"decode": 2, "spool": 10}


def test_messages_are_counted_by_what_became_of_them():
    counters = {
        "messages.qos0": 1, "messages.qos1": 2, "messages.qos2": 3, "messages.plain": 100, "grpc_messages": 4,
        "broker_messages": 20, "broker_retained": 5, "broker_repeats": 7, "rejected.not_authorized": 8,
        "grpc_refused.malformed_request": 1, "grpc_refused.bad_credentials": 9, "connects.not_authorized": 3,
    }  # fmt: skip
    assert messages_taken(counters) == 1 + 2 + 3 + 4 + 20 - 5 - 7
    assert messages_rejected(counters) == {"retained": 5, "not_authorized": 8, "malformed_request": 1}


def test_every_stage_tells_the_same_four():
    flow = Flow()
    flow.has(**DECODED, rejected={"not_authorized": 2, "transient": 1}, in_columns=10)

    class Registry(CollectorRegistry):
        def collect(self):
            return flow.ledger.families()

    page = generate_latest(Registry()).decode()
    for line in (
        'cityfleet_ingest_stage_in_total{stage="transport",unit="messages"} 6.0',
        'cityfleet_ingest_stage_out_total{stage="decode",unit="readings"} 10.0',
        'cityfleet_ingest_stage_refused_total{reason="unknown_metric",stage="resolve"} 1.0',
        'cityfleet_ingest_stage_refused_total{reason="transient",stage="decode"} 1.0',
        'cityfleet_ingest_stage_depth{stage="batch",unit="readings"} 10.0',
        'cityfleet_ingest_ledger_imbalance{stage="batch"} 0.0',
        'cityfleet_ingest_ledger_rejected_total{reason="not_authorized"} 2.0',
        'cityfleet_ingest_ledger_readings_total{entry="received"} 13.0',
        "cityfleet_ingest_ledger_in_flight_readings 10.0",
    ):
        assert line in page
