# MQTT over WebSocket: frames of a socket to the bytes of packets, and back.

from ext.mqtt.connection cimport Connection

cdef enum:
    HEAD_BYTES = 14             # of a frame, at most: 2, 8 of length, 4 of mask
    CONTROL_BYTES = 125

cdef class WebSocketConnection(Connection):
    cdef bytearray request          # what has come of the HTTP request; None: upgraded
    cdef unsigned long long left    # payload bytes of the current frame that have not come
    cdef unsigned int close_code    # for our Close frame
    cdef unsigned char head[HEAD_BYTES]
    cdef unsigned char head_size    # bytes of the next frame's head that have come
    cdef unsigned char mask[4]
    cdef unsigned char mask_at      # which byte of the mask is next
    cdef unsigned char opcode       # of the current frame
    cdef bint is_in_frame
    cdef bint is_last               # FIN of the current frame
    cdef bint is_in_message         # a fragmented message has begun
    cdef unsigned char control[CONTROL_BYTES]
    cdef unsigned char control_size

    cdef const unsigned char* upgrade(self, const unsigned char* at, const unsigned char* end) except NULL
    cdef const unsigned char* open_frame(self, const unsigned char* at, const unsigned char* end) except NULL
    cdef int on_control(self) except -1
    cdef int refuse_frame(self, int close_code, bytes why) except -1
