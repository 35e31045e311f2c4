# base64 with padding (RFC 4648 section 4), as network servers write payloads.

# Decodes into `to`, which has room for `room` bytes. Returns the bytes written; -1: not base64, or more than there is
# room for.
cdef Py_ssize_t decode_base64(const unsigned char* at, size_t size, unsigned char* to, size_t room) noexcept nogil
