# A hash of short byte strings (device ids, metric names) for open addressing.

from libc.string cimport memcpy


cdef inline unsigned long long mix(unsigned long long word) noexcept nogil:
    word ^= word >> 32
    word *= 0x9E3779B97F4A7C15ULL
    word ^= word >> 29
    return word


cdef inline unsigned int hash_bytes(const unsigned char* at, size_t size) noexcept nogil:
    """Eight bytes at a time. Not seeded: only what the registry names is ever inserted, senders can just look up."""
    cdef unsigned long long state = size * 0xD6E8FEB86659FD93ULL
    cdef unsigned long long word
    while size >= 8:
        memcpy(&word, at, 8)
        state = mix(state ^ word)
        at += 8
        size -= 8
    if size >= 4:
        word = 0
        memcpy(&word, at, 4)
        state = mix(state ^ word)
        at += 4
        size -= 4
    word = 0
    while size:
        word = (word << 8) | at[0]
        at += 1
        size -= 1
    state = mix(state ^ word)
    return <unsigned int>(state ^ (state >> 32))
