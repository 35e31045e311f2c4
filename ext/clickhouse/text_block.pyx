# cython: language_level=3
"""The columns of cityfleet.readings_text, sealed into one Native block."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from ext.clickhouse.native cimport (
    column_head_size,
    dictionary_size,
    put_bytes,
    put_string,
    release,
    varint_size,
    write_bytes,
    write_column_head,
    write_dictionary,
    write_varint,
)
from ext.clickhouse.ward_column cimport clear_wards, release_wards

cdef enum:
    WARDS = 7                   # the number of the column that is not a buffer

# (name, type, number of the column that holds it)
COLUMNS = (
    (b"device_num", b"UInt32", 0),
    (b"metric_num", b"UInt16", 1),
    (b"ts", b"DateTime64(3, 'UTC')", 2),
    (b"kind", b"Enum8('string' = 1, 'boolean' = 2, 'data' = 3)", 3),
    (b"value", b"String", 4),
    (b"quality", b"UInt8", 5),
    (b"ward_code", b"LowCardinality(String)", 7),
    (b"received_at", b"DateTime64(3, 'UTC')", 6),
)


cdef class TextBlock:
    """Rows of cityfleet.readings_text that have not been sealed; `len(block)` of them.

    Its wards are those of one device index: a block must not be filled from two.
    """

    def __dealloc__(self):
        for which in range(<int>WARDS):
            release(self.buffer(which))
        release_wards(&self.wards)

    def __len__(self) -> int:
        return self.count

    @property
    def size_bytes(self) -> int:
        """Memory that the rows take, to be bounded by the caller."""
        cdef size_t total = self.wards.dictionary.indices.size
        for which in range(<int>WARDS):
            total += self.buffer(which).size
        return total

    cdef Buffer* buffer(self, int which) noexcept:
        if which == 0:
            return &self.device_num
        if which == 1:
            return &self.metric_num
        if which == 2:
            return &self.ts_ms
        if which == 3:
            return &self.kind
        if which == 4:
            return &self.value
        return &self.quality if which == 5 else &self.received_ms

    cdef int put(self, TextRow* row) noexcept:
        if (put_bytes(&self.device_num, &row.device_num, 4)
                or put_bytes(&self.metric_num, &row.metric_num, 2)
                or put_bytes(&self.ts_ms, &row.ts_ms, 8)
                or put_bytes(&self.kind, &row.kind, 1)
                or put_string(&self.value, row.value, row.value_size)
                or put_bytes(&self.quality, &row.quality, 1)
                or put_bytes(&self.received_ms, &row.received_ms, 8)
                or put_bytes(&self.wards.dictionary.indices, &row.ward, 2)):
            return -1
        self.count += 1
        return 0

    def clear(self) -> None:
        """Forget the rows; the memory is kept for the next ones."""
        for which in range(<int>WARDS):
            self.buffer(which).size = 0
        clear_wards(&self.wards)
        self.count = 0

    def seal(self) -> bytes:
        """The rows as one Native block, empty if there are none; then clear().

        Source: docs/flow.md, "Native blocks".
        """
        cdef size_t size = varint_size(len(COLUMNS)) + varint_size(self.count)
        cdef bytes block
        cdef unsigned char* to
        cdef int at
        if self.count == 0:
            return b""
        for name, type_, which in COLUMNS:
            at = which
            size += column_head_size(name, type_)
            size += dictionary_size(&self.wards.dictionary, self.count) if at == WARDS else self.buffer(at).size
        block = PyBytes_FromStringAndSize(NULL, size)
        to = <unsigned char*>PyBytes_AS_STRING(block)
        to = write_varint(to, len(COLUMNS))
        to = write_varint(to, self.count)
        for name, type_, which in COLUMNS:
            to = write_column_head(to, name, type_)
            at = which
            if at == WARDS:
                to = write_dictionary(to, &self.wards.dictionary, self.count)
            else:
                to = write_bytes(to, self.buffer(at).data, self.buffer(at).size)
        self.clear()
        return block
