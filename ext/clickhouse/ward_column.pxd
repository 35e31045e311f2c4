# The column ward_code of a block: LowCardinality(String), its keys looked up by the ward's slot in the device index.

from ext.clickhouse.native cimport Dictionary

cdef struct WardColumn:             # all zeros is a valid, empty one
    Dictionary dictionary           # its indices are the rows' wards
    int* of_slot                    # index into the dictionary by ward slot; -1: not there yet
    int slots

# The block's own number of a ward, by its slot in the device index; -1 if memory ran out.
cdef int ward_index(WardColumn* column, int ward_slot, const unsigned char* code, size_t size) noexcept
# Forget keys and rows; the memory is kept.
cdef void clear_wards(WardColumn* column) noexcept
cdef void release_wards(WardColumn* column) noexcept


cdef inline int known_ward(WardColumn* column, int ward_slot) noexcept:
    """The same for a ward that the block has already; -1: it has not, ask ward_index()."""
    return column.of_slot[ward_slot] if ward_slot < column.slots else -1
