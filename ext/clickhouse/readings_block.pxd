# The columns of cityfleet.readings, filled row by row in C.

from ext.clickhouse.ward_column cimport WardColumn

cdef struct Row:
    double value
    long long ts_ms
    unsigned int device_num
    unsigned short metric_num
    unsigned short quality_reasons
    unsigned short ward             # from ward_index(&block.wards, ...)
    unsigned char quality

cdef class ReadingsBlock:
    cdef size_t count, capacity
    cdef unsigned int* device_num
    cdef unsigned short* metric_num
    cdef long long* ts_ms
    cdef double* value
    cdef unsigned char* quality
    cdef unsigned short* quality_reasons
    cdef long long* received_ms
    cdef WardColumn wards
    # Room for this many more rows; -1 if memory ran out.
    cdef int reserve(self, size_t more) noexcept


cdef inline void put_row(ReadingsBlock block, Row* row) noexcept:
    """Everything but when it was received; there must be room."""
    cdef size_t at = block.count
    block.device_num[at] = row.device_num
    block.metric_num[at] = row.metric_num
    block.ts_ms[at] = row.ts_ms
    block.value[at] = row.value
    block.quality[at] = row.quality
    block.quality_reasons[at] = row.quality_reasons
    (<unsigned short*>block.wards.dictionary.indices.data)[at] = row.ward
    block.count = at + 1


cdef inline void fill_received(ReadingsBlock block, size_t first, long long received_ms) noexcept:
    """When the rows from `first` on were received."""
    cdef size_t i
    for i in range(first, block.count):
        block.received_ms[i] = received_ms
