# cython: language_level=3
"""The column ward_code of a block: LowCardinality(String), keys looked up by the ward's slot in the device index."""

from libc.stdlib cimport free, realloc

from ext.clickhouse.native cimport put_string, release


cdef int ward_index(WardColumn* column, int ward_slot, const unsigned char* code, size_t size) noexcept:
    cdef int i
    cdef void* grown
    if ward_slot >= column.slots:
        grown = realloc(column.of_slot, (ward_slot + 1) * sizeof(int))
        if grown == NULL:
            return -1
        column.of_slot = <int*>grown
        for i in range(column.slots, ward_slot + 1):
            column.of_slot[i] = -1
        column.slots = ward_slot + 1
    if column.of_slot[ward_slot] < 0:
        if put_string(&column.dictionary.keys, code, size):
            return -1
        column.of_slot[ward_slot] = <int>column.dictionary.count
        column.dictionary.count += 1
    return column.of_slot[ward_slot]


cdef void clear_wards(WardColumn* column) noexcept:
    cdef int i
    column.dictionary.count = 0
    column.dictionary.keys.size = 0
    column.dictionary.indices.size = 0
    for i in range(column.slots):
        column.of_slot[i] = -1


cdef void release_wards(WardColumn* column) noexcept:
    free(column.of_slot)
    column.of_slot = NULL
    column.slots = 0
    release(&column.dictionary.keys)
    release(&column.dictionary.indices)
