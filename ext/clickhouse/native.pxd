# ClickHouse's Native format: growing bytes, variable-length integers, low-cardinality columns.
# Source: ClickHouse docs, "Native" format; its SerializationLowCardinality.cpp for the layout of that type.

cdef struct Buffer:                 # all zeros is a valid, empty one
    unsigned char* data
    size_t size, capacity

cdef struct Dictionary:             # of one LowCardinality(String) column; all zeros is a valid, empty one
    Buffer keys                     # native strings, in order of first use
    size_t count
    Buffer indices                  # unsigned short per row

# Returns 0, or -1 if memory ran out; the contents stay as they were.
cdef int reserve(Buffer* buffer, size_t more) noexcept
cdef int put_bytes(Buffer* buffer, const void* data, size_t size) noexcept
cdef int put_varint(Buffer* buffer, unsigned long long value) noexcept
# A String value: its length as a varint, its bytes.
cdef int put_string(Buffer* buffer, const void* data, size_t size) noexcept
cdef void release(Buffer* buffer) noexcept

# Size of a block's and a column's head, and the writing of it.
cdef size_t varint_size(unsigned long long value) noexcept nogil
cdef size_t column_head_size(bytes name, bytes type_) noexcept
cdef unsigned char* write_varint(unsigned char* to, unsigned long long value) noexcept
cdef unsigned char* write_column_head(unsigned char* to, bytes name, bytes type_) noexcept
cdef unsigned char* write_bytes(unsigned char* to, const void* data, size_t size) noexcept

# A low-cardinality column without its head.
cdef size_t dictionary_size(Dictionary* dictionary, size_t rows) noexcept
cdef unsigned char* write_dictionary(unsigned char* to, Dictionary* dictionary, size_t rows) noexcept
