"""Decode: the frames of a chunk to readings by name."""

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.sparkplug import SparkplugDecoder

def decode_chunk(
    chunk: FrameChunk,
    index: DeviceIndex,
    batches: BatchDecoder,
    readings: Readings,
    counters: StageCounters,
    sparkplug: SparkplugDecoder | None = None,
    states: DeviceStates | None = None,
) -> None: ...
