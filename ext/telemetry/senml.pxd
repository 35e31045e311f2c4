# SenML JSON (RFC 8428 section 5) to readings by name.

from ext.telemetry.json_scan cimport Scanner
from ext.telemetry.readings cimport Readings

# Adds a payload's readings to the open span. Returns False if it is malformed: scan.detail says why, scan.at where, and
# the caller drops the span. `received_ms` is what relative times count from.
cdef bint decode_senml(Scanner* scan, Readings readings, long long received_ms) noexcept
