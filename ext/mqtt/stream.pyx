# cython: language_level=3
"""One connection's byte stream to whole control packets, wherever the reads cut it."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from ext.mqtt.packet cimport PUBLISH, read_header
from ext.wire.cursor cimport STEP_MALFORMED, STEP_NEED_MORE, STEP_OK, Step

cdef enum:
    KEPT_BYTES = 65_536             # room for a packet in pieces that is not given back


cdef void reset(Stream* stream) noexcept nogil:
    stream.size = 0
    stream.skip = 0
    stream.is_cutting = False
    stream.is_taken = False
    if stream.capacity > KEPT_BYTES:
        free(stream.rest)
        stream.rest = NULL
        stream.capacity = 0


cdef bint keep(Stream* stream, Cursor* c, size_t size) noexcept nogil:
    cdef size_t room
    cdef void* grown
    if stream.size + size > stream.capacity:
        room = max(stream.size + size, min(2 * stream.capacity, stream.limit), 64)
        grown = realloc(stream.rest, room)
        if grown == NULL:
            return False
        stream.rest = <unsigned char*>grown
        stream.capacity = room
    memcpy(stream.rest + stream.size, c.at, size)
    stream.size += size
    c.at += size
    return True


cdef Found next_packet(Stream* stream, Cursor* c, Packet* out) noexcept nogil:
    cdef Cursor at
    cdef Step step
    cdef size_t head, total, wanted, taken
    if stream.is_taken:
        reset(stream)
    if stream.size == 0:
        at = c[0]
        step = read_header(&at, &out.header)
        if step == STEP_MALFORMED:
            return FOUND_MALFORMED
        if step == STEP_OK and out.header.size <= <size_t>(at.end - at.at) \
                and <size_t>(at.at - c.at) + out.header.size <= stream.limit:
            out.body = at.at
            out.size = out.header.size
            out.is_cut = False
            c.at = at.at + out.size
            return FOUND_PACKET
    while True:
        at.at = stream.rest
        at.end = stream.rest + stream.size
        step = read_header(&at, &out.header) if stream.size else STEP_NEED_MORE
        if step == STEP_MALFORMED:
            return FOUND_MALFORMED
        if step == STEP_NEED_MORE:
            if c.at == c.end:
                return FOUND_NOTHING
            if not keep(stream, c, 1):
                return FOUND_NO_MEMORY
            continue
        head = <size_t>(at.at - stream.rest)
        total = head + out.header.size
        if total > stream.limit and out.header.type != PUBLISH:
            return FOUND_TOO_LARGE
        wanted = min(total, stream.limit)
        taken = min(wanted - stream.size, <size_t>(c.end - c.at))
        if taken and not keep(stream, c, taken):
            return FOUND_NO_MEMORY
        if stream.size < wanted:
            return FOUND_NOTHING
        if total > wanted:
            if not stream.is_cutting:
                stream.is_cutting = True
                stream.skip = total - wanted
            taken = min(stream.skip, <size_t>(c.end - c.at))
            stream.skip -= taken
            c.at += taken
            if stream.skip:
                return FOUND_NOTHING
        out.body = stream.rest + head
        out.size = wanted - head
        out.is_cut = total > wanted
        stream.is_taken = True
        return FOUND_PACKET


# The rest is for tests: the same function from Python.

cdef class PacketSplitter:
    """A stream: `feed(read)` gives the packets that are whole now as (first byte, body, is_cut)."""

    cdef Stream stream

    def __cinit__(self, size_t limit):
        memset(&self.stream, 0, sizeof(Stream))
        self.stream.limit = limit

    def __dealloc__(self):
        free(self.stream.rest)

    @property
    def kept_bytes(self) -> int:
        return self.stream.capacity

    def feed(self, bytes data not None) -> list:
        """Raises: ValueError with the status' name for a stream that cannot go on."""
        cdef Cursor c
        cdef Packet packet
        cdef Found found
        c.at = data
        c.end = c.at + len(data)
        packets = []
        while True:
            found = next_packet(&self.stream, &c, &packet)
            if found == FOUND_NOTHING:
                return packets
            if found == FOUND_NO_MEMORY:
                raise MemoryError
            if found != FOUND_PACKET:
                raise ValueError("malformed" if found == FOUND_MALFORMED else "too large")
            packets.append((packet.header.type << 4 | packet.header.flags, packet.body[:packet.size], packet.is_cut))
