# How the payloads of one device type are decoded, compiled from what the registry says into flat C arrays.

from ext.telemetry.readings cimport Readings, Text

cdef enum NodeFlag:             # what lies at a path of a JSON document
    NODE_INNER = 1              # something that is wanted lies below
    NODE_METRIC = 2
    NODE_TIME = 4
    NODE_DEVICE = 8
    NODE_RECORDS = 16

cdef enum:
    ROOT = 0                    # node of the empty path
    NO_NODE = -1
    NO_SOURCE = -1
    IGNORED = -2                # a source that nobody wants

cdef enum TimeFormat:
    TIME_NONE = 0
    TIME_UNIX_S = 1
    TIME_UNIX_MS = 2
    TIME_RFC3339 = 3

cdef enum PortFormat:
    PORT_NONE = 0               # the type decodes no payload of this port
    PORT_LAYOUT = 1
    PORT_LPP = 2
    PORT_NETWORK_SERVER = 3

cdef enum LinkMetric:           # what a network server knows of an uplink
    LINK_RSSI = 0
    LINK_SNR = 1
    LINK_F_CNT = 2
    LINK_COUNT = 3

cdef struct Name:               # in TypeDecoder.names
    unsigned int at
    unsigned int size

cdef struct Node:
    unsigned int parent
    unsigned int hash           # of its label or position, and its parent
    Name label
    unsigned int position
    unsigned char is_position
    unsigned char flags         # NodeFlag
    int source

cdef struct Source:             # what payloads call a metric
    Name name
    Name metric
    Name unit                   # size 0: the metric's own
    unsigned int hash
    unsigned short metric_num
    unsigned int in_readings    # its entry in Readings.metrics, of the payload with this number:
    unsigned long long payload

# value = raw * factor / divisor + offset; factor or divisor is 1
cdef struct Field:
    double factor
    double divisor
    double offset
    double[4] missing
    double valid_low
    double valid_high
    int source                  # NO_SOURCE: skipped
    unsigned int size
    unsigned char missing_count
    unsigned char missing_nan
    unsigned char has_valid
    unsigned char is_float
    unsigned char is_signed
    unsigned char time          # TimeFormat
    unsigned char bit, width    # width 0: the whole integer
    unsigned char stays         # the next field is another part of the same bytes

cdef struct Layout:
    unsigned char[32] ports     # a bit for each
    unsigned char[32] tags
    unsigned char has_ports, has_tags
    unsigned char is_little
    unsigned char may_be_longer
    unsigned char anchor_last
    unsigned int first, count           # into TypeDecoder.fields
    unsigned int group_first, group_count
    size_t fixed_size, group_size       # bytes; fixed_size with the tag
    size_t repeat                       # 0: as many as there are bytes for
    long long step_ms


cdef class TypeDecoder:
    cdef unsigned char* names
    cdef size_t names_size
    cdef Source* sources
    cdef int source_count
    cdef int* source_table      # open addressing by hash; -1: free
    cdef unsigned int source_mask
    cdef Node* nodes
    cdef int node_count
    cdef int* node_table
    cdef unsigned int node_mask
    cdef Field* fields
    cdef int field_count
    cdef Layout* layouts
    cdef int layout_count
    cdef unsigned char[256] port_formats    # PortFormat; 0 for an uplink without a port
    cdef int[LINK_COUNT] link_sources
    cdef unsigned char time_format
    cdef unsigned char has_records
    cdef unsigned long long payload         # number of the payload that is being decoded

    # Index of a source; NO_SOURCE, or IGNORED.
    cdef int find_source(self, const unsigned char* name, size_t size) noexcept
    # Node below another one, or NO_NODE.
    cdef int child(self, int parent, const unsigned char* label, size_t size) noexcept
    cdef int child_at(self, int parent, unsigned int position) noexcept
    # To be called before the readings of a payload are added.
    cdef void begin(self) noexcept
    # The entry of a source's metric in `readings`, for the open span; -1: out of memory.
    cdef long long metric_of(self, Readings readings, int source) noexcept
    cdef int put_name(self, object text, Name* out) except -1
    cdef int add_source(self, object name, object metric, object unit, int metric_num) except -1
    cdef int add_path(self, object path, unsigned char flag, int source) except -1
    cdef int add_field(self, object given, object sources) except -1
    cdef int set_numbers(self, Field* field, object given) except -1
    cdef int add_layout(self, object given, object sources) except -1


# What every decoder of this folder says of a payload that it refuses, or refuses the rest of.
cdef struct Fault:
    const char* detail          # static text
    size_t offset               # into the payload
    unsigned char reason        # Reason


cdef inline bint blame(Fault* fault, unsigned char reason, const char* detail, size_t offset) noexcept:
    fault.reason = reason
    fault.detail = detail
    fault.offset = offset
    return False


# Adds one reading to the open span; false: out of memory.
cdef bint add_number(Readings readings, size_t metric, unsigned int device, long long time_ms, double value) noexcept
# A moment as given in a number; out of any window if it is none.
cdef long long ms_of(double number, unsigned char time_format) noexcept nogil
