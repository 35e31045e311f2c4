# cython: language_level=3
"""The columns of cityfleet.readings, sealed into one Native block."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc

from ext.clickhouse.native cimport (
    column_head_size,
    dictionary_size,
    varint_size,
    write_bytes,
    write_column_head,
    write_dictionary,
    write_varint,
)
from ext.clickhouse.native cimport reserve as reserve_bytes
from ext.clickhouse.ward_column cimport clear_wards, release_wards

# (name, type, bytes of a value); the last two are written apart
COLUMNS = (
    (b"device_num", b"UInt32", 4),
    (b"metric_num", b"UInt16", 2),
    (b"ts", b"DateTime64(3, 'UTC')", 8),
    (b"value", b"Float64", 8),
    (b"quality", b"UInt8", 1),
    (b"quality_reasons", b"UInt16", 2),
    (b"ward_code", b"LowCardinality(String)", 0),
    (b"received_at", b"DateTime64(3, 'UTC')", 8),
)
cdef size_t BYTES_PER_ROW = 35      # in memory, with two bytes for the ward


cdef int resize(void** array, size_t bytes_wanted) noexcept:
    cdef void* grown = realloc(array[0], bytes_wanted)
    if grown == NULL:
        return -1
    array[0] = grown
    return 0


cdef class ReadingsBlock:
    """Rows of cityfleet.readings that have not been sealed; `len(block)` of them.

    Its wards are those of one device index: a block must not be filled from two.
    """

    def __dealloc__(self):
        free(self.device_num)
        free(self.metric_num)
        free(self.ts_ms)
        free(self.value)
        free(self.quality)
        free(self.quality_reasons)
        free(self.received_ms)
        release_wards(&self.wards)

    def __len__(self) -> int:
        return self.count

    @property
    def size_bytes(self) -> int:
        """Memory that the rows take, to be bounded by the caller."""
        return self.count * BYTES_PER_ROW

    cdef int reserve(self, size_t more) noexcept:
        cdef size_t room
        if self.count + more <= self.capacity:
            return 0
        room = max(self.count + more, self.capacity * 2, <size_t>4096)
        self.wards.dictionary.indices.size = self.count * 2
        if (resize(<void**>&self.device_num, room * 4) or resize(<void**>&self.metric_num, room * 2)
                or resize(<void**>&self.ts_ms, room * 8) or resize(<void**>&self.value, room * 8)
                or resize(<void**>&self.quality, room) or resize(<void**>&self.quality_reasons, room * 2)
                or resize(<void**>&self.received_ms, room * 8)
                or reserve_bytes(&self.wards.dictionary.indices, (room - self.count) * 2)):
            return -1
        self.capacity = room
        return 0

    def clear(self) -> None:
        """Forget the rows; the memory is kept for the next ones."""
        self.count = 0
        clear_wards(&self.wards)

    def seal(self) -> bytes:
        """The rows as one Native block, empty if there are none; then clear().

        Source: docs/flow.md, "Native blocks".
        """
        cdef size_t rows = self.count
        cdef size_t size = varint_size(len(COLUMNS)) + varint_size(rows)
        cdef bytes block
        cdef unsigned char* to
        cdef const void* data
        cdef int i = 0
        if rows == 0:
            return b""
        for name, type_, width in COLUMNS:
            size += column_head_size(name, type_) + <size_t>width * rows
        size += dictionary_size(&self.wards.dictionary, rows)
        block = PyBytes_FromStringAndSize(NULL, size)
        to = <unsigned char*>PyBytes_AS_STRING(block)
        to = write_varint(to, len(COLUMNS))
        to = write_varint(to, rows)
        for name, type_, width in COLUMNS:
            to = write_column_head(to, name, type_)
            if i == 6:
                to = write_dictionary(to, &self.wards.dictionary, rows)
            else:
                data = (<const void*>self.device_num if i == 0 else <const void*>self.metric_num if i == 1
                        else <const void*>self.ts_ms if i == 2 else <const void*>self.value if i == 3
                        else <const void*>self.quality if i == 4 else <const void*>self.quality_reasons if i == 5
                        else <const void*>self.received_ms)
                to = write_bytes(to, data, <size_t>width * rows)
            i += 1
        self.clear()
        return block
