# cython: language_level=3
"""MQTT over WebSocket (RFC 6455, MQTT 5.0 section 6): a Connection whose bytes come and go in binary frames.

Payloads are unmasked where they lie, in the hub's read buffer, and go on to `Connection.consume` as they come: a
packet may span frames, a frame may hold several, and no frame is ever kept. So a frame's size needs a limit only
against senders that are not WebSocket clients.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from ext.mqtt.connection cimport Connection
from ext.mqtt.hub cimport STATE_AWAIT_CONNECT, STATE_LEAVING, Hub
from ext.mqtt.reason cimport RC_PACKET_TOO_LARGE, RC_PROTOCOL_ERROR
from ext.wire.utf8 cimport is_utf8

from ext.mqtt.upgrade import REQUEST_MAX_BYTES, RefusedError, accept, too_large

cdef enum:
    OP_CONTINUATION = 0
    OP_TEXT = 1
    OP_BINARY = 2
    OP_CLOSE = 8
    OP_PING = 9
    OP_PONG = 10
    FRAME_MAX_BYTES = 16_777_216

    CLOSE_NORMAL = 1000
    CLOSE_PROTOCOL_ERROR = 1002
    CLOSE_UNSUPPORTED_DATA = 1003
    CLOSE_NO_STATUS = 1005
    CLOSE_INVALID_DATA = 1007
    CLOSE_TOO_BIG = 1009


cdef bytes frame(unsigned char opcode, const unsigned char* payload, size_t size):
    """One whole frame as a server sends it: not masked."""
    cdef size_t head = 2 if size < 126 else 4 if size < 65_536 else 10
    cdef bytes data = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(head + size))
    cdef unsigned char* at = <unsigned char*>PyBytes_AS_STRING(data)
    cdef size_t i
    at[0] = 0x80 | opcode
    if head == 2:
        at[1] = <unsigned char>size
    else:
        at[1] = 126 if head == 4 else 127
        for i in range(2, head):
            at[i] = <unsigned char>(size >> 8 * (head - 1 - i))
    if size:
        memcpy(at + head, payload, size)
    return data


cdef unsigned char unmask(unsigned char* at, size_t size, const unsigned char* mask, unsigned char first) noexcept:
    """Take the mask off in place, beginning with byte `first` of it. Returns the byte of the mask that is next."""
    cdef unsigned char turned[8]
    cdef unsigned long long pattern, word
    cdef size_t i = 0, k
    for k in range(8):
        turned[k] = mask[(first + k) & 3]
    memcpy(&pattern, turned, 8)
    while i + 8 <= size:
        memcpy(&word, at + i, 8)
        word ^= pattern
        memcpy(at + i, &word, 8)
        i += 8
    while i < size:
        at[i] ^= turned[i & 7]
        i += 1
    return <unsigned char>((first + size) & 3)


cdef class WebSocketConnection(Connection):
    """The protocol of one socket that speaks MQTT in the frames of a WebSocket."""

    def __cinit__(self, Hub hub not None):
        self.request = bytearray()
        self.close_code = CLOSE_NORMAL

    # Bytes in

    cdef int consume(self, const unsigned char* at, size_t size) except -1:
        cdef const unsigned char* end = at + size
        cdef size_t here
        if self.request is not None:
            at = self.upgrade(at, end)
        while self.state < STATE_LEAVING:
            if not self.is_in_frame:
                if at == end:
                    break
                at = self.open_frame(at, end)
                if not self.is_in_frame:
                    break
            here = <size_t>min(self.left, <unsigned long long>(end - at))
            self.left -= here
            if here:
                self.mask_at = unmask(<unsigned char*>at, here, self.mask, self.mask_at)
            if self.opcode >= OP_CLOSE:
                memcpy(self.control + self.control_size, at, here)
                self.control_size += <unsigned char>here
            elif here:
                Connection.consume(self, at, here)
            at += here
            if self.left:
                break
            self.is_in_frame = False
            if self.opcode >= OP_CLOSE:
                self.on_control()
            else:
                self.is_in_message = not self.is_last
        return 0

    cdef const unsigned char* upgrade(self, const unsigned char* at, const unsigned char* end) except NULL:
        """Gather the HTTP request and answer it. Returns what is behind it."""
        cdef Py_ssize_t before = len(self.request), found, kept
        kept = min(<Py_ssize_t>(end - at), <Py_ssize_t>REQUEST_MAX_BYTES + 1 - before)
        self.request += at[:kept]
        found = self.request.find(b"\r\n\r\n", max(0, before - 3))
        try:
            if found < 0:
                if len(self.request) > REQUEST_MAX_BYTES:
                    raise too_large()
                return end
            answer = accept(bytes(self.request[:found + 4]))
        except RefusedError as exc:
            self.hub.count_connect("websocket_refused")
            self.hub.report("websocket_refused", b"", str(exc).encode())
            self.transport.write(exc.answer)
            Connection.hang_up(self)
            return end
        self.request = None
        self.transport.write(answer)
        return at + (found + 4 - before)

    cdef const unsigned char* open_frame(self, const unsigned char* at, const unsigned char* end) except NULL:
        """Gather the head of a frame; when it is whole, check it and set `is_in_frame`. Returns what is behind it."""
        cdef size_t wanted = 2, i, length_bytes
        cdef unsigned long long size
        while True:
            while self.head_size < wanted:
                if at == end:
                    return at
                self.head[self.head_size] = at[0]
                self.head_size += 1
                at += 1
            if wanted > 2:
                break
            self.opcode = self.head[0] & 15
            self.is_last = (self.head[0] & 0x80) != 0
            if self.head[0] & 0x70:
                self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"reserved bits")
            elif not self.head[1] & 0x80:
                self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"a frame that is not masked")
            elif self.opcode >= OP_CLOSE:
                if self.opcode > OP_PONG:
                    self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"unknown opcode")
                elif not self.is_last or self.head[1] & 127 > CONTROL_BYTES:
                    self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"a control frame in fragments or too large")
            elif self.opcode == OP_TEXT:
                self.refuse_frame(CLOSE_UNSUPPORTED_DATA, b"a text frame")
            elif self.opcode > OP_BINARY:
                self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"unknown opcode")
            elif (self.opcode == OP_CONTINUATION) != self.is_in_message:
                self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"fragments out of order")
            if self.state >= STATE_LEAVING:
                return end
            size = self.head[1] & 127
            length_bytes = 0 if size < 126 else 2 if size == 126 else 8
            wanted = 6 + length_bytes
        self.head_size = 0
        if length_bytes:
            size = 0
            for i in range(length_bytes):
                size = size << 8 | self.head[2 + i]
            if size < (126 if length_bytes == 2 else 65_536):
                self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"a length that is not in its shortest form")
                return end
            if size > FRAME_MAX_BYTES:
                self.refuse_frame(CLOSE_TOO_BIG, b"a frame too large")
                return end
        memcpy(self.mask, self.head + 2 + length_bytes, 4)
        self.mask_at = 0
        self.left = size
        self.control_size = 0
        self.is_in_frame = True
        return at

    cdef int on_control(self) except -1:
        """A whole Ping, Pong or Close."""
        cdef unsigned int code
        if self.opcode == OP_PING:
            self.transport.write(frame(OP_PONG, self.control, self.control_size))
        elif self.opcode == OP_CLOSE:
            if self.control_size == 0:
                return self.hang_up()
            if self.control_size == 1:
                return self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"half a close code")
            code = <unsigned int>self.control[0] << 8 | self.control[1]
            if code < 1000 or code >= 5000 or 1004 <= code <= 1006 or 1015 <= code < 3000:
                return self.refuse_frame(CLOSE_PROTOCOL_ERROR, b"a close code that must not be sent")
            if not is_utf8(self.control + 2, self.control_size - 2):
                return self.refuse_frame(CLOSE_INVALID_DATA, b"a close reason that is not UTF-8")
            self.close_code = code
            return self.hang_up()
        return 0

    cdef int refuse_frame(self, int close_code, bytes why) except -1:
        """The WebSocket cannot go on."""
        self.close_code = <unsigned int>close_code
        self.hub.report("websocket_error", self.user_name or b"", why)
        if self.state == STATE_AWAIT_CONNECT:
            self.hub.count_connect("websocket_error")
            return self.hang_up()
        return self.leave(RC_PACKET_TOO_LARGE if close_code == CLOSE_TOO_BIG else RC_PROTOCOL_ERROR)

    # Bytes out

    cdef int say(self, bytes data) except -1:
        if self.state < STATE_LEAVING and data:
            self.transport.write(frame(OP_BINARY, data, <size_t>len(data)))
        return 0

    cdef int hang_up(self) except -1:
        cdef unsigned char code[2]
        if self.state < STATE_LEAVING and self.request is None:
            code[0] = <unsigned char>(self.close_code >> 8)
            code[1] = <unsigned char>self.close_code
            self.transport.write(frame(OP_CLOSE, code, 2))
        return Connection.hang_up(self)
