"""The decoder of Sparkplug as tests drive it: payloads in, readings out, as its twin gives them."""

from typing import Any

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import ENCODING_NAMES, FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.sparkplug import SparkplugDecoder
from ext.telemetry.sparkplug_births import Births
from tests.support.sparkplug_twin import Outcome, Refused

NOW_MS = 1_700_000_000_000


class DecodingHost:
    """Takes payloads as a broker delivers them, or as the gateway `sender` (slot in the index) does."""

    def __init__(self, births: Births | None = None, index: DeviceIndex | None = None, sender: int = -1) -> None:
        self.births = Births() if births is None else births
        self.decoder = SparkplugDecoder(self.births)
        self.index = DeviceIndex() if index is None else index
        self.sender = sender
        self.readings = Readings()
        self.counters = StageCounters()

    def chunk(self, *messages: tuple[bytes, bytes], received_ms: int = NOW_MS) -> FrameChunk:
        chunk = FrameChunk("broker")
        for topic, data in messages:
            chunk.add(
                topic,
                data,
                sender=self.sender,
                encoding=ENCODING_NAMES["sparkplug"],
                scope=1,
                received_ms=received_ms,
                is_trusted=self.sender < 0,
            )
        return chunk

    def decode(self, chunk: FrameChunk) -> Readings:
        decode_chunk(chunk, self.index, BatchDecoder(), self.readings, self.counters, self.decoder)
        return self.readings

    def take(self, topic: bytes, data: bytes, received_ms: int = NOW_MS) -> Outcome | Refused:
        """One message, in a chunk of its own."""
        (outcome,) = self.take_all((topic, data), received_ms=received_ms)
        return outcome

    def take_all(self, *messages: tuple[bytes, bytes], received_ms: int = NOW_MS) -> list[Outcome | Refused]:
        """Messages in one chunk; what each became."""
        self.decode(self.chunk(*messages, received_ms=received_ms))
        found: list[Outcome | Refused] = [Outcome([], []) for _ in messages]
        for frame, reason, _, _ in self.readings.refusals_list():
            found[frame] = Refused(reason)
        for frame, device, metric, unit, time_ms, value, reason in self.readings.rows():
            row: tuple[Any, ...] = (
                (device or "").encode(),
                None if reason in ("unknown_alias", "unknown_metric") else metric.encode(),
                unit.encode(),
                time_ms,
                value if reason in ("", "unknown_alias", "unknown_metric") else None,
                reason,
            )
            found[frame].numbers.append(row)  # type: ignore[union-attr]
        for frame, device, metric, time_ms, kind, text, reason in self.readings.text_rows():
            found[frame].texts.append(  # type: ignore[union-attr]
                ((device or "").encode(), metric.encode(), time_ms, kind, text, reason)
            )
        return found

    def wants(self, now_ms: int = NOW_MS, *, reorder_ms: int = 5_000, limit: int = 100) -> list[bytes]:
        """Nodes that would be asked for a rebirth now."""
        return [key for _, key, _ in self.births.rebirths_due(now_ms, reorder_ms, 30_000, 3_600_000, limit)]
