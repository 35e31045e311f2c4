# The columns of cityfleet.quarantine, filled row by row in C.

from ext.clickhouse.native cimport Buffer, Dictionary

cdef struct QuarantineRow:
    long long received_ms
    const unsigned char* device_id
    const unsigned char* topic
    const unsigned char* detail
    const unsigned char* payload
    size_t device_id_size, topic_size, detail_size, payload_size
    unsigned int readings           # that the row stands for
    unsigned short transport        # from transport_index()
    unsigned char reason            # Reason
    unsigned char encoding          # Encoding

cdef class QuarantineBlock:
    cdef size_t count
    cdef unsigned long long reading_count
    cdef Buffer received_ms         # long long each
    cdef Buffer device_id           # native strings
    cdef Buffer topic
    cdef Buffer detail
    cdef Buffer payload
    cdef Buffer readings            # unsigned int each
    cdef Dictionary transport
    cdef Dictionary encoding
    cdef Dictionary reason
    cdef dict transports            # name -> index into its dictionary
    cdef short[256] encoding_index  # by Encoding; -1: not in the dictionary yet
    cdef short[256] reason_index    # by Reason
    # Raises MemoryError; then the block has to be thrown away.
    cdef int put(self, QuarantineRow* row) except -1
    cdef int transport_index(self, str transport) except -1
    cdef Buffer* buffer(self, int which) noexcept
    cdef Dictionary* dictionary(self, int which) noexcept
