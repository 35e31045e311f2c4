# Moments as text, as network servers and gateways write them.

# Milliseconds since 1970 UTC of a date-time of RFC 3339 section 5.6, further digits cut off. False: it is none.
cdef bint read_rfc3339(const unsigned char* at, size_t size, long long* out) noexcept nogil
