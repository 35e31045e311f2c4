"""Resolve: readings by name to rows of numbers, and what cannot be resolved to quarantine."""

from ext.clickhouse.quarantine_block import QuarantineBlock
from ext.clickhouse.readings_block import ReadingsBlock
from ext.clickhouse.text_block import TextBlock
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters

def resolve_readings(
    readings: Readings,
    index: DeviceIndex,
    earliest_ms: int,
    max_ahead_ms: int,
    rows: ReadingsBlock,
    texts: TextBlock,
    quarantine: QuarantineBlock,
    counters: StageCounters,
    states: DeviceStates | None = None,
) -> None: ...
