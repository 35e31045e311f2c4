# Memory that grows where it lies or by moving pages, never by copying bytes: an array of a million devices must not
# stop the event loop for its copy. Pages that were never written cost nothing.

cdef struct Region:
    unsigned char* at           # zeros where nothing was written
    size_t mapped               # bytes

# Make room for `size` bytes. Returns 0, or -1 if memory ran out (nothing has changed then); `at` may move.
cdef int reserve_region(Region* region, size_t size) noexcept nogil
cdef void free_region(Region* region) noexcept nogil
