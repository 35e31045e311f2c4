"""The decode stage: a chunk of frames to readings by name."""

from ext.telemetry.batch import BatchDecoder
from ext.telemetry.decode import decode_chunk
from ext.telemetry.frames import FrameChunk
from ext.telemetry.index import DeviceIndex
from ext.telemetry.readings import Readings, StageCounters


class Decoder:
    """Decodes the encodings of docs/encodings.md; one per thread.

    `counters`: items in are frames, items out readings, refused are frames that became one quarantine row undecoded.
    """

    def __init__(self, index: DeviceIndex) -> None:
        self.counters = StageCounters()
        self._index = index
        self._batches = BatchDecoder()

    def decode(self, chunk: FrameChunk, readings: Readings) -> None:
        """Decode every frame of a chunk into `readings`, which holds nothing else afterwards.

        `readings` borrows the chunk's bytes: leave the chunk alone until they are resolved. Pure: may be done again.
        """
        decode_chunk(chunk, self._index, self._batches, readings, self.counters)
