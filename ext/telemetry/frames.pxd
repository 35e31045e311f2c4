# A chunk of frames: what every transport hands to decode. One arena, no Python object per frame.

cdef enum Encoding:
    ENCODING_DEFAULT = 0        # the device type's default
    ENCODING_SENML_JSON = 1
    ENCODING_BATCH = 2
    ENCODING_SENML_CBOR = 3
    ENCODING_JSON = 4               # by the mapping of the device type
    ENCODING_LPP = 5                # Cayenne Low Power Payload
    ENCODING_LAYOUT = 6             # by the binary layout of the device type
    ENCODING_SPARKPLUG = 7          # Sparkplug B 3.0
    ENCODING_TTS_JSON = 8           # The Things Stack v3
    ENCODING_CHIRPSTACK_JSON = 9    # ChirpStack v4
    ENCODING_CHIRPSTACK_PROTOBUF = 10
    ENCODING_UNKNOWN = 255      # named by the sender, not known here: quarantine

cdef enum Scope:
    SCOPE_DEVICE = 0            # cf/v1/d/...: readings of the sender
    SCOPE_GATEWAY = 1           # cf/v1/g/...: readings of devices behind the sender

# Why a frame or a reading goes to quarantine. Names as stored in the column `reason`: REASON_NAMES in frames.pyx.
cdef enum Reason:
    REASON_NONE = 0
    REASON_UNKNOWN_DEVICE = 1           # no such device, or decommissioned
    REASON_NOT_BEHIND_GATEWAY = 2       # the payload names a device that the sender does not speak for
    REASON_UNSUPPORTED_TOPIC = 3        # below the sender's own id, but nothing here consumes it
    REASON_UNKNOWN_ENCODING = 4
    REASON_EMPTY_PAYLOAD = 5
    REASON_MALFORMED_PAYLOAD = 6
    REASON_UNKNOWN_METRIC = 7           # the device type does not have it
    REASON_UNKNOWN_UNIT = 8             # cannot be converted to the metric's canonical unit
    REASON_TIME_OUT_OF_RANGE = 9
    REASON_VALUE_NOT_FINITE = 10        # NaN or infinity
    REASON_VALUE_NOT_NUMERIC = 11       # neither a number nor a string, boolean or blob
    REASON_SUM_WITHOUT_VALUE = 12       # SenML: a sum alone is not the value of anything that is stored
    REASON_PAYLOAD_TOO_LARGE = 13       # from a broker; only its beginning was kept
    REASON_UNKNOWN_ALIAS = 14           # Sparkplug: no birth that holds gave this alias a name
    REASON_UNSUPPORTED_DATATYPE = 15    # Sparkplug: data sets, templates, arrays, files; integers of no datatype
    REASON_TYPE_MISMATCH = 16           # Sparkplug: not a value of its datatype
    REASON_COUNT = 17

cdef struct Frame:
    size_t topic_at             # offsets into FrameChunk.data
    size_t payload_at
    unsigned int topic_size
    unsigned int payload_size
    long long received_ms       # our clock, UTC
    unsigned long long ack_ref  # opaque to all but the transport that made the chunk
    int sender                  # slot in the device index; -1: nobody the index knows
    unsigned char encoding      # Encoding
    unsigned char scope         # Scope
    unsigned char reason        # Reason: already refused by the transport, goes to quarantine undecoded
    unsigned char is_trusted    # whoever delivered it vouches for the devices that its payload names

cdef class FrameChunk:
    cdef unsigned char* data
    cdef size_t size, capacity
    cdef Frame* frames
    cdef size_t count, frames_capacity
    cdef readonly str transport         # "mqtt", "grpc", "broker": a label
    cdef public object on_durable       # called once with the chunk when all its frames are durable; or None
    # Copies topic and payload into the arena. Returns the new frame, whose other fields are zero and which is valid
    # until the next append; NULL if memory ran out.
    cdef Frame* append(self, const unsigned char* topic, size_t topic_size,
                       const unsigned char* payload, size_t payload_size) noexcept
    cdef void clear(self) noexcept
