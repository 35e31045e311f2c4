# base64url without padding (RFC 4648 section 5), as SenML's `vd` has it.

# Decodes `size` characters to at most size / 4 * 3 + 2 bytes. Returns the bytes written; -1: not base64url, or padded.
# Bits beyond the last whole byte are ignored. `to` may not overlap `at`.
cdef Py_ssize_t decode_base64url(const unsigned char* at, size_t size, unsigned char* to) noexcept nogil
