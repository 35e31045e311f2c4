# JSON documents to readings by the mapping of a device type.

from ext.telemetry.json_scan cimport Scanner
from ext.telemetry.readings cimport Readings, Text
from ext.telemetry.type_decoder cimport TypeDecoder

# Adds the readings of one JSON value, `scan.at` at its first byte, to the open span; behind it afterwards. The value
# may map to nothing. Returns False if it is malformed: scan.detail and scan.at say why and where.
#   base_ms, device: of what names no time and no device itself.
#   is_uplink: what a network server knows of the radio link is not taken from the document.
cdef bint map_json(Scanner* scan, Readings readings, TypeDecoder decoder, long long base_ms, unsigned int device,
                   bint is_uplink) noexcept
# A whole payload, which must map to something.
cdef bint decode_json(Scanner* scan, Readings readings, TypeDecoder decoder, long long received_ms) noexcept

# For a document that is no text: what a mapped value is. Same rules.
cdef enum:
    PENDING_DEVICE = 0xFFFFFFFE     # named later in the document, or nowhere

cdef struct Sample:
    long long time_ms
    unsigned int device
    unsigned char has_time
    unsigned char is_inside         # of the records
    unsigned char is_uplink
    size_t first_reading, first_text

cdef void open_sample(Sample* sample, Readings readings, bint is_inside, bint is_uplink) noexcept
# What had no time or device of its own gets the sample's, if it has one.
cdef void close_sample(Sample* sample, Readings readings) noexcept
# The same with the last word.
cdef void close_document(Sample* document, Readings readings, long long base_ms, unsigned int device) noexcept
cdef bint is_mapped(TypeDecoder decoder, int node, Sample* sample) noexcept
# What each kind of value does at a node; `detail` is set and false returned if it must not be there.
cdef bint put_number(Readings readings, TypeDecoder decoder, int node, Sample* sample, double value,
                     const char** detail) noexcept
cdef bint put_boolean(Readings readings, TypeDecoder decoder, int node, Sample* sample, bint value,
                      const char** detail) noexcept
cdef bint put_string(Readings readings, TypeDecoder decoder, int node, Sample* sample, Text* value,
                     const char** detail) noexcept
cdef bint put_container(Readings readings, TypeDecoder decoder, int node, Sample* sample, const char** detail) noexcept
