# cython: language_level=3
"""ClickHouse's Native format, as far as our two tables need it.

A block over HTTP (client_protocol_version 0) is: columns and rows as varints; then for each column its name, its type
and its data, fixed-size values side by side, strings each with their length before them.
"""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef enum:
    # SerializationLowCardinality: a dictionary that lives as long as the block ("additional keys")
    SHARED_DICTIONARIES = 1
    HAS_ADDITIONAL_KEYS = 1 << 9
    NEEDS_NEW_DICTIONARY = 1 << 10


cdef int reserve(Buffer* buffer, size_t more) noexcept:
    cdef size_t room
    cdef void* grown
    if buffer.size + more <= buffer.capacity:
        return 0
    room = max(buffer.size + more, buffer.capacity * 2, <size_t>4096)
    grown = realloc(buffer.data, room)
    if grown == NULL:
        return -1
    buffer.data = <unsigned char*>grown
    buffer.capacity = room
    return 0


cdef int put_bytes(Buffer* buffer, const void* data, size_t size) noexcept:
    if reserve(buffer, size):
        return -1
    memcpy(buffer.data + buffer.size, data, size)
    buffer.size += size
    return 0


cdef int put_varint(Buffer* buffer, unsigned long long value) noexcept:
    if reserve(buffer, 10):
        return -1
    buffer.size = write_varint(buffer.data + buffer.size, value) - buffer.data
    return 0


cdef int put_string(Buffer* buffer, const void* data, size_t size) noexcept:
    if reserve(buffer, size + 10):
        return -1
    buffer.size = write_varint(buffer.data + buffer.size, size) - buffer.data
    if size:        # data may be NULL
        memcpy(buffer.data + buffer.size, data, size)
        buffer.size += size
    return 0


cdef void release(Buffer* buffer) noexcept:
    free(buffer.data)
    buffer.data = NULL
    buffer.size = 0
    buffer.capacity = 0


cdef size_t varint_size(unsigned long long value) noexcept nogil:
    cdef size_t size = 1
    while value >= 0x80:
        value >>= 7
        size += 1
    return size


cdef size_t column_head_size(bytes name, bytes type_) noexcept:
    return varint_size(len(name)) + len(name) + varint_size(len(type_)) + len(type_)


cdef unsigned char* write_varint(unsigned char* to, unsigned long long value) noexcept:
    while value >= 0x80:
        to[0] = <unsigned char>(value | 0x80)
        to += 1
        value >>= 7
    to[0] = <unsigned char>value
    return to + 1


cdef unsigned char* write_bytes(unsigned char* to, const void* data, size_t size) noexcept:
    if size:        # data may be NULL
        memcpy(to, data, size)
    return to + size


cdef unsigned char* write_column_head(unsigned char* to, bytes name, bytes type_) noexcept:
    to = write_varint(to, len(name))
    to = write_bytes(to, <const unsigned char*>name, len(name))
    to = write_varint(to, len(type_))
    return write_bytes(to, <const unsigned char*>type_, len(type_))


cdef size_t dictionary_size(Dictionary* dictionary, size_t rows) noexcept:
    return 4 * 8 + dictionary.keys.size + rows * (1 if dictionary.count <= 256 else 2)


cdef unsigned char* write_dictionary(unsigned char* to, Dictionary* dictionary, size_t rows) noexcept:
    cdef unsigned long long head[3]
    cdef unsigned short* indices = <unsigned short*>dictionary.indices.data
    cdef bint is_wide = dictionary.count > 256      # 0: indices of one byte, 1: of two
    cdef size_t i
    cdef unsigned long long count = rows
    head[0] = SHARED_DICTIONARIES
    head[1] = HAS_ADDITIONAL_KEYS | NEEDS_NEW_DICTIONARY | is_wide
    head[2] = dictionary.count
    to = write_bytes(to, head, sizeof(head))
    to = write_bytes(to, dictionary.keys.data, dictionary.keys.size)
    to = write_bytes(to, &count, 8)
    if is_wide:
        return write_bytes(to, indices, rows * 2)
    for i in range(rows):
        to[i] = <unsigned char>indices[i]
    return to + rows
