# One connection's byte stream to whole control packets, wherever the reads cut it.

from ext.mqtt.packet cimport Header
from ext.wire.cursor cimport Cursor

cdef enum Found:
    FOUND_PACKET = 1
    FOUND_NOTHING = 0               # not an error: the read is used up
    FOUND_MALFORMED = -1
    FOUND_TOO_LARGE = -2            # above the limit, and not a PUBLISH
    FOUND_NO_MEMORY = -3

cdef struct Stream:                 # all zeros, but the limit, at the beginning of a connection
    unsigned char* rest             # the beginning of a packet whose end has not come; owned
    size_t size, capacity
    size_t limit                    # bytes that are kept of a packet
    size_t skip                     # bytes of a packet above the limit that are still to be thrown away
    bint is_cutting
    bint is_taken                   # `rest` is the packet that was given last

cdef struct Packet:                 # borrowed: valid until the next call
    Header header                   # `size` as announced
    const unsigned char* body
    size_t size                     # of the body, as far as it was kept
    bint is_cut                     # a PUBLISH above the limit: the body's end is missing

# The next packet, from what was kept and then from `c`, which moves over what was used. Memory grows with what came,
# not with what was announced.
cdef Found next_packet(Stream* stream, Cursor* c, Packet* out) noexcept nogil
# Forget what was kept, as for a new connection.
cdef void reset(Stream* stream) noexcept nogil
