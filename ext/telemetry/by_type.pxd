# Payloads that are decoded as their device's type says, plain or inside a network server's uplink.

from ext.telemetry.frames cimport FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault
from ext.telemetry.uplink cimport Outcome

# Decodes one frame into a span of its own, which is gone again if the outcome is REFUSED. `encoding` becomes the one
# that the payload turned out to be in: ChirpStack's JSON and protobuf come on the same topics.
cdef Outcome decode_by_type(FrameChunk chunk, size_t frame_at, unsigned char* encoding, DeviceIndex index,
                            Readings readings, Fault* fault) noexcept
