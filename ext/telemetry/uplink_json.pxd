# Uplinks as The Things Stack v3 and ChirpStack v4 write them in JSON.

from ext.telemetry.frames cimport Frame, FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault
from ext.telemetry.uplink cimport Outcome

# Adds the readings of an uplink to the open span. The caller drops it if the outcome is REFUSED.
cdef Outcome decode_uplink_json(FrameChunk chunk, Frame* frame, bint is_chirpstack, DeviceIndex index,
                                Readings readings, Fault* fault) noexcept
