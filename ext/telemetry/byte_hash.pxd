# Short byte strings (device ids, metric names): a hash for open addressing, and whether two are the same.

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


cdef inline bint same_bytes(const unsigned char* one, const unsigned char* other, size_t size) noexcept nogil:
    """Eight bytes at a time, the last eight overlapping: no call, which costs more than the rest."""
    cdef unsigned long long left, right
    cdef unsigned int left_half, right_half
    cdef size_t at = 0
    if size >= 8:
        while at + 8 < size:
            memcpy(&left, one + at, 8)
            memcpy(&right, other + at, 8)
            if left != right:
                return False
            at += 8
        memcpy(&left, one + size - 8, 8)
        memcpy(&right, other + size - 8, 8)
        return left == right
    if size >= 4:
        memcpy(&left_half, one, 4)
        memcpy(&right_half, other, 4)
        if left_half != right_half:
            return False
        memcpy(&left_half, one + size - 4, 4)
        memcpy(&right_half, other + size - 4, 4)
        return left_half == right_half
    # up to three: the first, the middle and the last are all of them
    return size == 0 or (one[0] == other[0] and one[size >> 1] == other[size >> 1] and one[size - 1] == other[size - 1])
