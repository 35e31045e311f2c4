# Topics of cityfleet: cf/v1/d/{device}/... and cf/v1/g/{gateway}/... . Shared by our endpoint and the broker consumer.

cdef enum TopicKind:
    TOPIC_FOREIGN = 0       # not of this shape
    TOPIC_TELEMETRY = 1     # .../telemetry or .../telemetry/{senml-json|batch|...}
    TOPIC_OTHER = 2         # anything else below an id

cdef enum:
    DEVICE_ID_MAX_BYTES = 63

cdef struct Topic:
    const unsigned char* id         # borrowed from the topic
    unsigned char id_size           # 1 to DEVICE_ID_MAX_BYTES
    unsigned char kind              # TopicKind
    unsigned char scope             # Scope
    unsigned char encoding          # Encoding; ENCODING_DEFAULT where the topic names none

# Fills `out` and returns its kind; with TOPIC_FOREIGN the other fields say nothing. The id is not looked up.
cdef TopicKind parse_topic(const unsigned char* topic, size_t size, Topic* out) noexcept nogil
# What follows the id, from its '/' on: kind and encoding only.
cdef TopicKind parse_below_id(const unsigned char* at, size_t size, unsigned char* encoding) noexcept nogil
# The Encoding of an MQTT 5 Content Type: ENCODING_DEFAULT if empty, ENCODING_UNKNOWN if none of ours.
cdef unsigned char encoding_of_content_type(const unsigned char* at, size_t size) noexcept nogil
# The family of a topic that is not ours: ENCODING_SPARKPLUG (spBv1.0/...), ENCODING_TTS_JSON
# (v3/{app}@{tenant}/devices/{device}/up), ENCODING_CHIRPSTACK_JSON (application/{id}/device/{eui}/event/up, JSON or
# protobuf); else, with their other events, ENCODING_UNKNOWN.
cdef unsigned char foreign_encoding(const unsigned char* topic, size_t size) noexcept nogil
