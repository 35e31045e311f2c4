# What a device says of itself on cf/v1/d/{device}/state: a JSON object, kept for the registry.

from ext.telemetry.device_states cimport DeviceStates
from ext.telemetry.frames cimport Frame, FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault

cdef bint is_state_topic(FrameChunk chunk, Frame* frame) noexcept
# False: refused, `fault` says why.
cdef bint take_state(FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings, DeviceStates states,
                     Fault* fault) except -1
