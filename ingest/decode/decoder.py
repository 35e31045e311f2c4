"""The decode stage: a chunk of frames to readings by name."""

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.device_states import DeviceStates
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters
from ext.telemetry.sparkplug import SparkplugDecoder
from ext.telemetry.sparkplug_births import Births


class Decoder:
    """Decodes the encodings of docs/encodings.md; one per thread.

    `counters`: items in are frames, items out readings, refused are frames that became one quarantine row undecoded.
    """

    def __init__(self, index: DeviceIndex, births: Births | None = None, states: DeviceStates | None = None) -> None:
        """
        Args:
            births: what is known of Sparkplug's edge nodes; others may read it and change it between calls.
            states: where `state` documents go; None: to quarantine.
        """
        self._states = states
        self.counters = StageCounters()
        self._index = index
        self._batches = BatchDecoder()
        self.sparkplug = SparkplugDecoder(Births() if births is None else births)

    def decode(self, chunk: FrameChunk, readings: Readings, *, is_replay: bool = False) -> None:
        """Decode every frame of a chunk into `readings`, which holds nothing else afterwards.

        `readings` borrows the chunk's bytes: leave the chunk alone until they are resolved. May be done again:
        what Sparkplug nodes announced is then announced twice, and their messages count as repeated.

        Args:
            is_replay: messages of long ago, whose births and deaths must not touch what is known of Sparkplug's nodes.
        """
        sparkplug = SparkplugDecoder(Births()) if is_replay else self.sparkplug
        decode_chunk(chunk, self._index, self._batches, readings, self.counters, sparkplug, self._states)
