# JSON numbers to doubles, correctly rounded.

cdef enum:
    MAX_NUMBER_BYTES = 1000     # a longer number is refused; doubles need at most 768 digits to be told apart

# Reads one number (RFC 8259 section 6) that starts at `at`. Returns the first byte after it, NULL if it is none or
# too long. Too large for a double: infinity with the number's sign.
cdef const unsigned char* read_number(const unsigned char* at, const unsigned char* end, double* out) noexcept

# digits * 10**power to the nearest double. False: not to be had this way; the digits have to go through text.
cdef bint to_double(unsigned long long digits, long power, double* out) noexcept nogil
# The number that at most MAX_NUMBER_BYTES of text say.
cdef double number_of_text(const unsigned char* at, size_t size) noexcept
