# base64 as network servers write payloads, base64url as SenML's `vd` has it. Both return the bytes written, or -1.

# RFC 4648 section 4, with padding. Into `to`, which has room for `room` bytes; -1 also where that is too little.
cdef Py_ssize_t decode_base64(const unsigned char* at, size_t size, unsigned char* to, size_t room) noexcept nogil
# RFC 4648 section 5, without padding. `to` has room for `size` bytes.
cdef Py_ssize_t decode_base64url(const unsigned char* at, size_t size, unsigned char* to) noexcept nogil
