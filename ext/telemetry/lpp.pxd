# Cayenne Low Power Payload to readings.

from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault, TypeDecoder

# Adds the readings of a payload to the open span. False: it cannot be decoded from fault.offset on; what came before
# has been added. `at` must not lie in the arena of `readings`.
cdef bint decode_lpp(const unsigned char* at, size_t size, TypeDecoder decoder, Readings readings, long long time_ms,
                     unsigned int device, Fault* fault) noexcept
