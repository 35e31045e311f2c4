# cython: language_level=3
"""Memory that grows without being copied."""

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* at, size_t size, int protection, int flags, int file, long offset)
    void* mremap(void* at, size_t size, size_t new_size, int flags)
    int munmap(void* at, size_t size)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MREMAP_MAYMOVE
    void* MAP_FAILED

cdef enum:
    STEP = 65_536


cdef int reserve_region(Region* region, size_t size) noexcept nogil:
    cdef size_t room
    cdef void* grown
    if size <= region.mapped:
        return 0
    room = max(size, region.mapped + region.mapped // 4)
    room = (room + STEP - 1) // STEP * STEP
    if region.mapped == 0:
        grown = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    else:
        grown = mremap(region.at, region.mapped, room, MREMAP_MAYMOVE)
    if grown == MAP_FAILED:
        return -1
    region.at = <unsigned char*>grown
    region.mapped = room
    return 0


cdef void free_region(Region* region) noexcept nogil:
    if region.mapped:
        munmap(region.at, region.mapped)
    region.at = NULL
    region.mapped = 0
