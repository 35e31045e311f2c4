# cython: language_level=3
"""Bytes of a socket to whole MQTT packets: those that one read has, and the beginning of one whose end has not come."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from ext.mqtt.hub cimport STATE_AWAIT_CONNECT, STATE_LEAVING, STATE_OPEN
from ext.mqtt.packet cimport CONNECT, PUBLISH, check_flags, read_header
from ext.mqtt.reason cimport RC_MALFORMED_PACKET, RC_PACKET_TOO_LARGE, RC_PROTOCOL_ERROR, RC_SUCCESS
from ext.wire.cursor cimport STEP_MALFORMED, STEP_NEED_MORE, STEP_OK, Step
from ext.wire.varint cimport varint_size

cdef enum:
    ALIVE_BYTES = 1_000         # so much of a large packet counts as a sign of life on a slow link


cdef class Framed(Peer):
    """A connection that hands whole packets to take()."""

    def __dealloc__(self):
        free(self.rest)

    cdef int consume(self, const unsigned char* at, size_t size) except -1:
        cdef Cursor c
        cdef Header header
        cdef Step step
        cdef ReasonCode code
        cdef const unsigned char* start
        c.at = at
        c.end = at + size
        if self.rest_size:
            c.at = self.complete(c.at, c.end)
        while c.at < c.end and self.state < STATE_LEAVING:
            if self.held is not None:
                return self.hold(c.at, <size_t>(c.end - c.at))
            start = c.at
            step = read_header(&c, &header)
            if step == STEP_MALFORMED:
                return self.fail(RC_MALFORMED_PACKET, start[0] >> 4)
            if step == STEP_OK:
                code = self.admit(&header, &c)
                if code != RC_SUCCESS:
                    return self.fail(code, header.type)
            if step == STEP_NEED_MORE or <size_t>(c.end - c.at) < header.size:
                return self.stash(start, <size_t>(c.end - start))
            self.hub.slots[self.slot].seen_tick = self.hub.now_tick
            self.take(&header, c.at)
            c.at += header.size
        return 0

    cdef const unsigned char* complete(self, const unsigned char* at, const unsigned char* end) except NULL:
        """Finish the packet that an earlier read began: only its missing bytes are copied. Returns what is left."""
        cdef Cursor c
        cdef Header header
        cdef Step step
        cdef ReasonCode code
        cdef size_t missing
        while True:
            c.at = self.rest
            c.end = self.rest + self.rest_size
            step = read_header(&c, &header)
            if step == STEP_MALFORMED:
                self.fail(RC_MALFORMED_PACKET, self.rest[0] >> 4)
                return end
            if step == STEP_NEED_MORE:
                if at == end:
                    return end
                self.stash(at, 1)
                at += 1
                continue
            code = self.admit(&header, &c)
            if code != RC_SUCCESS:
                self.fail(code, header.type)
                return end
            missing = header.size - <size_t>(c.end - c.at)
            if missing > <size_t>(end - at):
                if end - at >= ALIVE_BYTES and self.state == STATE_OPEN:
                    self.hub.slots[self.slot].seen_tick = self.hub.now_tick
                self.stash(at, <size_t>(end - at))
                return end
            self.stash(at, missing)
            self.hub.slots[self.slot].seen_tick = self.hub.now_tick
            self.take(&header, self.rest + (self.rest_size - header.size))
            self.rest_size = 0
            self.hub.slots[self.slot].rest_tick = 0
            if self.rest_capacity > 64:
                free(self.rest)
                self.keep(NULL, 0)
            return at + missing

    cdef int hold(self, const unsigned char* at, size_t size) except -1:
        """What comes behind a CONNECT that waits for the other workers."""
        self.held += at[:size]
        self.transport.pause_reading()
        return 0

    cdef int stash(self, const unsigned char* at, size_t size) except -1:
        """Keep the beginning of a packet. The room grows with what came, not with what was announced."""
        cdef size_t room
        cdef void* grown
        if self.rest_size + size > self.rest_capacity:
            room = max(self.rest_size + size, min(2 * self.rest_capacity, <size_t>self.hub.max_packet_bytes), 64)
            grown = realloc(self.rest, room)
            if grown == NULL:
                raise MemoryError
            self.keep(<unsigned char*>grown, room)
        if self.rest_size == 0:
            self.hub.slots[self.slot].rest_tick = self.hub.now_tick
        memcpy(self.rest + self.rest_size, at, size)
        self.rest_size += size
        return 0

    cdef int keep(self, unsigned char* room, size_t capacity) noexcept:
        self.hub.partial_bytes += capacity - self.rest_capacity
        self.rest = room
        self.rest_capacity = capacity
        return 0

    cdef int forget(self) noexcept:
        free(self.rest)
        self.keep(NULL, 0)
        self.rest_size = 0
        self.hub.slots[self.slot].rest_tick = 0
        return 0

    # What may come, and what then cannot go on

    cdef ReasonCode admit(self, Header* header, Cursor* body) noexcept:
        """Whether a packet may come at all, by its header: before a byte of its body is kept."""
        cdef ReasonCode code = check_flags(header.type, header.flags)
        cdef size_t size = 1 + varint_size(header.size) + header.size
        if self.state == STATE_AWAIT_CONNECT:
            if header.type != CONNECT:
                return RC_PROTOCOL_ERROR
            if code != RC_SUCCESS:
                return code
            return RC_PACKET_TOO_LARGE if size > min(CONNECT_MAX_BYTES, self.hub.max_packet_bytes) else RC_SUCCESS
        if code != RC_SUCCESS:
            return code
        if header.type == CONNECT:
            return RC_PROTOCOL_ERROR
        return RC_PACKET_TOO_LARGE if size > self.hub.max_packet_bytes else RC_SUCCESS

    cdef int fail(self, ReasonCode code, unsigned char type) except -1:
        """The connection cannot go on; a message in the offending packet counts as rejected."""
        if self.state == STATE_AWAIT_CONNECT:
            self.hub.count_connect("not_a_connect" if code == RC_PROTOCOL_ERROR else
                                   "packet_too_large" if code == RC_PACKET_TOO_LARGE else "malformed_packet")
            self.transport.abort()
            self.state = STATE_LEAVING
            return 0
        if type == PUBLISH:
            self.hub.rejected[<int>code] += 1
        self.hub.report("packet_refused", self.user_name or b"", b"reason code 0x%02x" % <int>code)
        return self.leave(code)

    cdef int take(self, Header* header, const unsigned char* body) except -1:
        raise NotImplementedError
