# Payloads of declared binary layouts to readings.

from ext.telemetry.readings cimport Readings
from ext.telemetry.type_decoder cimport Fault, TypeDecoder

cdef enum:
    NO_PORT = -1

# Adds the readings of a payload to the open span. False: it is refused as a whole. `at` must not lie in the arena of
# `readings`. f_port: 0 to 255, or NO_PORT where there is no network server.
cdef bint decode_layout(const unsigned char* at, size_t size, int f_port, TypeDecoder decoder, Readings readings,
                        long long time_ms, unsigned int device, Fault* fault) noexcept
