"""The ledger: where every reading is, stage by stage, and between which two stages one is missing."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ingest.metrics import SpoolState, WriteState
from ingest.model import TABLES

_QUARANTINE = TABLES.index("quarantine")
MESSAGES, READINGS = "messages", "readings"
# Why a Sparkplug reading is refused that is not to be stored, by its own flag; the only reason that decode has.
TRANSIENT = "transient"
# Of the entries these are gauges of their own.
_ENTRIES_NOW = {"in_spool", "in_flight"}

# Of the transports' counters: what each of these stands for is a message that was taken.
_TAKEN = ("messages.qos0", "messages.qos1", "messages.qos2", "grpc_messages", "broker_messages", "replay_messages")
# Messages of a broker that are acknowledged without being taken: the same again, and states of long ago.
_NOT_TAKEN = ("broker_repeats", "broker_retained")
# A stream of gRPC that is ended for one of these is ended for one message, which is not taken.
_OF_ONE_MESSAGE = frozenset({"malformed_request", "sequence_not_increasing"})


def messages_taken(counters: Mapping[str, int]) -> int:
    """Args: counters: what the transports count, by event."""
    return sum(counters.get(name, 0) for name in _TAKEN) - sum(counters.get(name, 0) for name in _NOT_TAKEN)


def messages_rejected(counters: Mapping[str, int]) -> dict[str, int]:
    """Messages that the transports refused, by reason."""
    found: dict[str, int] = {}
    if counters.get("broker_retained"):
        found["retained"] = counters["broker_retained"]
    for name, count in counters.items():
        kind, _, reason = name.partition(".")
        if count and (kind.endswith("rejected") or (kind == "grpc_refused" and reason in _OF_ONE_MESSAGE)):
            found[reason] = found.get(reason, 0) + count
    return found


class StageCount(msgspec.Struct, frozen=True):
    """What one stage has done since its process started.

    came_in = went_out + left + held, and came_in = what the stage before gave + recovered - waiting.
    """

    stage: str
    # What is counted at the stage's door and behind it: messages or readings.
    unit_in: str
    unit_out: str
    came_in: int
    went_out: int
    # Taken and not given on yet.
    held: int = 0
    # Given by the stage before and not taken yet.
    waiting: int = 0
    # Left the flow here: refused at the door, or set aside.
    left: int = 0
    # By reason. What decode and resolve refuse goes on, as rows of the quarantine.
    refused: dict[str, int] = {}


class Break(msgspec.Struct, frozen=True):
    """Where the ledger does not balance. `missing` is negative where something is counted that never came."""

    stage: str
    missing: int
    unit: str
    text: str


class StageCounts(msgspec.Struct, frozen=True):
    """What the stages before the spool tell at one moment; each field is measured where it is, not computed."""

    # Messages that the transports took, and refused by reason.
    taken: int
    rejected: Mapping[str, int]
    # Frames given to the pipeline, waiting there, and decoded.
    handed_on: int
    frames_waiting: int
    frames_decoded: int
    decoded: int
    refused_by_decode: Mapping[str, int]
    # Readings, and payloads that decode refused as one each; rows; refused readings by reason.
    resolve_in: int
    resolved: int
    refused: Mapping[str, int]
    # Readings in open columns, in columns that were sealed, and in sealed batches that wait for the spool.
    in_columns: int
    sealed: int
    sealed_waiting: int
    # Readings of closed segments that wait for write.
    closed_waiting: int

    @property
    def transient(self) -> int:
        """Readings that their sender did not want stored."""
        return self.rejected.get(TRANSIENT, 0)


class LedgerNow(msgspec.Struct, frozen=True):
    """The ledger at one moment.

    Of `entries`, `in_spool` is durable and not yet in ClickHouse, `in_flight` not durable yet.
    """

    entries: dict[str, int]
    # Messages and readings refused at the door, by reason.
    rejected: Mapping[str, int]
    # In the order of the flow.
    stages: list[StageCount]

    def breaks(self, *, is_final: bool = False) -> list[Break]:
        """Where something is missing, in the order of the flow; empty: the ledger balances."""
        return breaks(self.stages, self.entries["recovered"], is_final=is_final)


class Ledger:
    """received + recovered = stored + quarantined + set aside + rejected + lost + in spool + in flight.

    `lost` is 0 but where `ingest.spool.durability` is "memory". Counted in readings; a message refused at the door and
    a payload that could not be decoded are one each. Exact at any moment between two steps of the loop that the stages
    run in.
    """

    def __init__(self, counts: Callable[[], StageCounts], spool: SpoolState, write: WriteState) -> None:
        self._counts = counts
        self._spool = spool
        self._write = write

    def now(self) -> LedgerNow:
        """Call it in the loop of the stages."""
        found = self._counts()
        return LedgerNow(self._entries(found), found.rejected, self._stages(found))

    def families(self) -> Iterator[Metric]:
        """The entries, and the same four of every stage: items in, out, refused by reason, depth."""
        return _families(self.now())

    def _entries(self, found: StageCounts) -> dict[str, int]:
        spool, write = self._spool, self._write
        rejected = sum(found.rejected.values())
        return {
            "received": found.resolve_in + rejected,
            "recovered": spool.recovered,
            "stored": sum(write.readings) - write.readings[_QUARANTINE],
            "quarantined": write.readings[_QUARANTINE],
            "set_aside": write.set_aside_readings,
            "rejected": rejected,
            "lost": spool.lost,
            "in_spool": sum(spool.readings) - spool.closed_readings + found.closed_waiting + write.held - spool.lost,
            "in_flight": found.in_columns + found.sealed_waiting + spool.taken - sum(spool.readings),
        }

    def _stages(self, found: StageCounts) -> list[StageCount]:
        spool, write = self._spool, self._write
        rejected = sum(found.rejected.values()) - found.transient
        refused_by_decode = dict(found.refused_by_decode)
        refused_by_resolve = {
            reason: count - refused_by_decode.get(reason, 0)
            for reason, count in found.refused.items()
            if count > refused_by_decode.get(reason, 0)
        }
        return [
            StageCount(
                "transport",
                MESSAGES,
                MESSAGES,
                came_in=found.taken + rejected,
                went_out=found.handed_on,
                held=found.taken - found.handed_on,
                left=rejected,
                refused={reason: count for reason, count in found.rejected.items() if reason != TRANSIENT},
            ),
            StageCount(
                "decode",
                MESSAGES,
                READINGS,
                came_in=found.frames_decoded,
                went_out=found.decoded + sum(refused_by_decode.values()),
                waiting=found.frames_waiting,
                refused={**refused_by_decode, **({TRANSIENT: found.transient} if found.transient else {})},
            ),
            StageCount(
                "resolve",
                READINGS,
                READINGS,
                came_in=found.resolve_in,
                went_out=found.resolved + sum(found.refused.values()),
                refused=refused_by_resolve,
            ),
            StageCount(
                "batch",
                READINGS,
                READINGS,
                came_in=found.sealed + found.in_columns,
                went_out=found.sealed,
                held=found.in_columns,
            ),
            StageCount(
                "spool",
                READINGS,
                READINGS,
                came_in=spool.taken,
                went_out=spool.closed_readings,
                held=spool.taken - spool.closed_readings,
                waiting=found.sealed_waiting,
            ),
            StageCount(
                "write",
                READINGS,
                READINGS,
                came_in=write.taken,
                went_out=sum(write.readings),
                held=write.held,
                waiting=found.closed_waiting,
                left=write.set_aside_readings,
                refused={"set_aside": write.set_aside_readings} if write.set_aside_readings else {},
            ),
        ]


def breaks(stages: Iterable[StageCount], recovered: int, *, is_final: bool = False) -> list[Break]:
    """Check every stage, and every way from one to the next.

    Args:
        recovered: readings that were in the spool at the start: write gets them beside what spool gives.
        is_final: the transports have stopped, and must have given on all that they took.
    """
    found = []
    before: StageCount | None = None
    for one in stages:
        if before is not None:
            given = before.went_out + (recovered if one.stage == "write" else 0)
            missing = given - one.came_in - one.waiting
            if missing:
                text = f"{before.stage} gave {given:,} {one.unit_in}, {one.stage} has {one.came_in + one.waiting:,}"
                found.append(Break(one.stage, missing, one.unit_in, text))
        missing = one.came_in - one.went_out - one.left - one.held if one.unit_in == one.unit_out else 0
        if is_final and one.stage == "transport":
            missing += one.held
        if missing or one.held < 0:
            out = one.went_out + one.left
            text = f"{one.came_in:,} {one.unit_in} came into {one.stage}, {out:,} left it, {one.held:,} are inside"
            found.append(Break(one.stage, missing or one.held, one.unit_in, text))
        before = one
    return found


def unacknowledged(stages: Iterable[StageCount]) -> dict[str, int]:
    """What had not reached the disk when the process ended, by stage: never acknowledged, so senders repeat it."""
    found = {}
    for one in stages:
        if one.stage == "write":
            break
        inside = one.waiting + (0 if one.stage == "transport" else one.held)
        if inside:
            found[one.stage] = inside
    return found


def _families(ledger: LedgerNow) -> Iterator[Metric]:
    entries = ledger.entries
    readings = CounterMetricFamily(
        "cityfleet_ingest_ledger_readings",
        "Readings by entry: received + recovered = stored + quarantined + set_aside + rejected + lost + in spool + in "
        "flight.",
        labels=["entry"],
    )
    for entry, count in entries.items():
        if entry not in _ENTRIES_NOW:
            readings.add_metric([entry], count)
    yield readings
    rejected = CounterMetricFamily(
        "cityfleet_ingest_ledger_rejected",
        "Messages refused at the door, and readings that their sender did not want stored, by reason.",
        labels=["reason"],
    )
    for reason, count in ledger.rejected.items():
        rejected.add_metric([reason], count)
    yield rejected
    yield GaugeMetricFamily(
        "cityfleet_ingest_spool_readings",
        "Readings that are durable in the spool and not yet in ClickHouse.",
        entries["in_spool"],
    )
    yield GaugeMetricFamily(
        "cityfleet_ingest_ledger_in_flight_readings",
        "Readings between decode and disk, not acknowledged yet.",
        entries["in_flight"],
    )
    came_in = CounterMetricFamily("cityfleet_ingest_stage_in", "What came into a stage.", labels=["stage", "unit"])
    went_out = CounterMetricFamily(
        "cityfleet_ingest_stage_out", "What a stage gave to the next.", labels=["stage", "unit"]
    )
    refused = CounterMetricFamily(
        "cityfleet_ingest_stage_refused", "What a stage refused, by reason.", labels=["stage", "reason"]
    )
    depth = GaugeMetricFamily(
        "cityfleet_ingest_stage_depth", "What waits before a stage and is inside it.", labels=["stage", "unit"]
    )
    broken = GaugeMetricFamily(
        "cityfleet_ingest_ledger_imbalance",
        "What is missing at a stage; any value but 0 is a fault of ours, which `cityfleet doctor` explains.",
        labels=["stage"],
    )
    missing = {fault.stage: fault.missing for fault in ledger.breaks()}
    for one in ledger.stages:
        came_in.add_metric([one.stage, one.unit_in], one.came_in)
        went_out.add_metric([one.stage, one.unit_out], one.went_out)
        depth.add_metric([one.stage, one.unit_in], one.waiting + one.held)
        for reason, count in one.refused.items():
            refused.add_metric([one.stage, reason], count)
        broken.add_metric([one.stage], missing.get(one.stage, 0))
    yield from (came_in, went_out, refused, depth, broken)
