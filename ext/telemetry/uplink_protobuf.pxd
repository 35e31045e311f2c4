# Uplinks as ChirpStack v4 writes them in protobuf.

from ext.telemetry.frames cimport Frame, FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault
from ext.telemetry.uplink cimport Outcome

# Adds the readings of an integration.UplinkEvent to the open span. The caller drops it if the outcome is REFUSED.
cdef Outcome decode_uplink_protobuf(FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings,
                                    Fault* fault) noexcept
