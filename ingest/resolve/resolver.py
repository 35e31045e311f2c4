"""The resolve stage: readings by name to rows of numbers."""

from datetime import UTC, datetime
from typing import Protocol

import msgspec

from ext.clickhouse.quarantine_block import QuarantineBlock
from ext.clickhouse.readings_block import ReadingsBlock
from ext.clickhouse.text_block import TextBlock
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.resolve import resolve_readings


class TimeWindow(msgspec.Struct, frozen=True):
    """Event times that are stored: from `earliest_ms` (since 1970 UTC) to `max_ahead_ms` after the frame came in."""

    earliest_ms: int
    max_ahead_ms: int

    @classmethod
    def parse(cls, earliest: str, max_ahead_s: float) -> "TimeWindow":
        """From the settings: `earliest` is ISO 8601, UTC where it names no zone. Raises ValueError if it is not."""
        moment = datetime.fromisoformat(earliest)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return cls(round(moment.timestamp() * 1000), round(max_ahead_s * 1000))


class RowSink(Protocol):
    """Where resolved readings and refused payloads go: the batch that is being filled."""

    @property
    def readings(self) -> ReadingsBlock: ...
    @property
    def texts(self) -> TextBlock: ...
    @property
    def quarantine(self) -> QuarantineBlock: ...


class Resolver:
    """Resolves against one device index.

    `counters`: items in are readings, and payloads that decode refused as one each; items out are rows; refused are
    readings by their own reason. So items in = items out + refused, always.
    """

    def __init__(self, index: DeviceIndex, window: TimeWindow, states: DeviceStates | None = None) -> None:
        """`states`: told which devices are heard."""
        self._states = states
        self.counters = StageCounters()
        self._index = index
        self._window = window

    def resolve(self, readings: Readings, batch: RowSink) -> None:
        """Append the good readings to the batch and one quarantine row for each payload with refused ones.

        `readings` is empty afterwards. Pure for one state of the index.
        """
        resolve_readings(
            readings,
            self._index,
            self._window.earliest_ms,
            self._window.max_ahead_ms,
            batch.readings,
            batch.texts,
            batch.quarantine,
            self.counters,
            self._states,
        )
