# The columns of cityfleet.readings_text, filled row by row in C.

from ext.clickhouse.native cimport Buffer
from ext.clickhouse.ward_column cimport WardColumn

cdef struct TextRow:
    const unsigned char* value
    size_t value_size
    long long ts_ms
    long long received_ms
    unsigned int device_num
    unsigned short metric_num
    unsigned short ward             # from ward_index(&block.wards, ...)
    unsigned char kind              # TextKind
    unsigned char quality

cdef class TextBlock:
    cdef size_t count
    cdef Buffer device_num          # unsigned int each
    cdef Buffer metric_num          # unsigned short each
    cdef Buffer ts_ms               # long long each
    cdef Buffer kind                # a byte each
    cdef Buffer value               # native strings
    cdef Buffer quality             # a byte each
    cdef Buffer received_ms         # long long each
    cdef WardColumn wards
    # -1 if memory ran out; then the block has to be thrown away.
    cdef int put(self, TextRow* row) noexcept
    cdef Buffer* buffer(self, int which) noexcept
