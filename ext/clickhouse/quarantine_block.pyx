# cython: language_level=3
"""The columns of cityfleet.quarantine, sealed into one Native block."""

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

from ext.telemetry.frames import ENCODING_NAMES, REASON_NAMES

cdef enum:
    DICTIONARY = 16             # from here on the number of a low-cardinality column, below that of a plain one

ENCODINGS = {number: name for name, number in ENCODING_NAMES.items()} | {0: ""}
# (name, type, number of the column that holds it)
COLUMNS = (
    (b"received_at", b"DateTime64(3, 'UTC')", 0),
    (b"device_id", b"String", 1),
    (b"topic", b"String", 2),
    (b"transport", b"LowCardinality(String)", 16),
    (b"encoding", b"LowCardinality(String)", 17),
    (b"reason", b"LowCardinality(String)", 18),
    (b"detail", b"String", 3),
    (b"readings", b"UInt32", 4),
    (b"payload", b"String", 5),
)


cdef int add_key(Dictionary* dictionary, str name) except -1:
    """A new key; returns its index."""
    cdef bytes text = name.encode()
    if put_string(&dictionary.keys, <const unsigned char*>text, len(text)):
        raise MemoryError
    dictionary.count += 1
    return <int>dictionary.count - 1


cdef int add_index(Dictionary* dictionary, unsigned short index) except -1:
    if put_bytes(&dictionary.indices, &index, 2):
        raise MemoryError
    return 0


cdef void empty(Dictionary* dictionary) noexcept:
    dictionary.count = 0
    dictionary.keys.size = 0
    dictionary.indices.size = 0


cdef class QuarantineBlock:
    """Rows of cityfleet.quarantine that have not been sealed; `len(block)` of them."""

    def __cinit__(self):
        self.clear()

    def __dealloc__(self):
        for which in range(6):
            release(self.buffer(which))
        release(&self.transport.keys)
        release(&self.transport.indices)
        release(&self.encoding.keys)
        release(&self.encoding.indices)
        release(&self.reason.keys)
        release(&self.reason.indices)

    def __len__(self) -> int:
        return self.count

    @property
    def quarantined_readings(self) -> int:
        """Readings that the rows stand for."""
        return self.reading_count

    @property
    def size_bytes(self) -> int:
        """Memory that the rows take, to be bounded by the caller."""
        cdef size_t total = self.count * 6
        for which in range(6):
            total += self.buffer(which).size
        return total

    cdef Buffer* buffer(self, int which) noexcept:
        if which == 0:
            return &self.received_ms
        if which == 1:
            return &self.device_id
        if which == 2:
            return &self.topic
        if which == 3:
            return &self.detail
        return &self.readings if which == 4 else &self.payload

    cdef int transport_index(self, str transport) except -1:
        index = self.transports.get(transport)
        if index is None:
            index = add_key(&self.transport, transport)
            self.transports[transport] = index
        return index

    cdef int put(self, QuarantineRow* row) except -1:
        if self.encoding_index[row.encoding] < 0:
            self.encoding_index[row.encoding] = add_key(&self.encoding, ENCODINGS.get(row.encoding, "unknown"))
        if self.reason_index[row.reason] < 0:
            self.reason_index[row.reason] = add_key(&self.reason, REASON_NAMES[row.reason])
        if (put_bytes(&self.received_ms, &row.received_ms, 8)
                or put_string(&self.device_id, row.device_id, row.device_id_size)
                or put_string(&self.topic, row.topic, row.topic_size)
                or put_string(&self.detail, row.detail, row.detail_size)
                or put_bytes(&self.readings, &row.readings, 4)
                or put_string(&self.payload, row.payload, row.payload_size)):
            raise MemoryError
        add_index(&self.transport, row.transport)
        add_index(&self.encoding, self.encoding_index[row.encoding])
        add_index(&self.reason, self.reason_index[row.reason])
        self.count += 1
        self.reading_count += row.readings
        return 0

    def clear(self) -> None:
        """Forget the rows; the memory is kept for the next ones."""
        for which in range(6):
            self.buffer(which).size = 0
        empty(&self.transport)
        empty(&self.encoding)
        empty(&self.reason)
        self.transports = {}
        for i in range(256):
            self.encoding_index[i] = -1
            self.reason_index[i] = -1
        self.count = 0
        self.reading_count = 0

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
            size += column_head_size(name, type_)
            at = which
            if at < DICTIONARY:
                size += self.buffer(at).size
            else:
                size += dictionary_size(self.dictionary(at), self.count)
        block = PyBytes_FromStringAndSize(NULL, size)
        to = <unsigned char*>PyBytes_AS_STRING(block)
        to = write_varint(to, len(COLUMNS))
        to = write_varint(to, self.count)
        for name, type_, which in COLUMNS:
            to = write_column_head(to, name, type_)
            at = which
            if at < DICTIONARY:
                to = write_bytes(to, self.buffer(at).data, self.buffer(at).size)
            else:
                to = write_dictionary(to, self.dictionary(at), self.count)
        self.clear()
        return block

    def refusals(self) -> list:
        """Reason and detail of every row. Not for the hot path."""
        cdef const unsigned char* at = self.detail.data
        cdef unsigned short* reason = <unsigned short*>self.reason.indices.data
        cdef size_t i, size
        cdef int shift
        names = {}
        for number in range(256):
            if self.reason_index[number] >= 0:
                names[self.reason_index[number]] = REASON_NAMES[number]
        found = []
        for i in range(self.count):
            size = shift = 0
            while at[0] >= 0x80:
                size |= <size_t>(at[0] & 0x7F) << shift
                shift += 7
                at += 1
            size |= <size_t>at[0] << shift
            found.append((names[reason[i]], at[1 : 1 + size].decode(errors="replace")))
            at += 1 + size
        return found

    cdef Dictionary* dictionary(self, int which) noexcept:
        if which == DICTIONARY:
            return &self.transport
        return &self.encoding if which == DICTIONARY + 1 else &self.reason
