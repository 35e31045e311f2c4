# SenML CBOR (RFC 8428 section 6) to readings by name.

from ext.telemetry.cbor cimport Cbor
from ext.telemetry.readings cimport Readings

# Adds a payload's readings to the open span. Returns False if it is malformed: cbor.detail says why, cbor.at where, and
# the caller drops the span. `received_ms` is what relative times count from.
cdef bint decode_senml_cbor(Cbor* cbor, Readings readings, long long received_ms) noexcept
