# cython: language_level=3
"""Topics of cityfleet: cf/v1/d/{device}/... and cf/v1/g/{gateway}/... .

The encodings' names in topics: `senml-json` and `batch`.
"""

from libc.string cimport memchr, memcmp

from ext.telemetry.frames cimport (
    ENCODING_BATCH, ENCODING_DEFAULT, ENCODING_SENML_JSON, ENCODING_UNKNOWN, SCOPE_DEVICE, SCOPE_GATEWAY,
)


cdef inline bint equals(const unsigned char* at, size_t size, const char* text, size_t text_size) noexcept nogil:
    return size == text_size and memcmp(at, text, text_size) == 0


cdef unsigned char encoding_of_suffix(const unsigned char* at, size_t size) noexcept nogil:
    # Not `senml+json`: `+` is a wildcard, which no topic name may have (MQTT 5.0 section 4.7.1).
    if equals(at, size, b"senml-json", 10):
        return ENCODING_SENML_JSON
    if equals(at, size, b"batch", 5):
        return ENCODING_BATCH
    return ENCODING_UNKNOWN


cdef unsigned char encoding_of_content_type(const unsigned char* at, size_t size) noexcept nogil:
    cdef const unsigned char* parameters
    if size == 0:
        return ENCODING_DEFAULT
    parameters = <const unsigned char*>memchr(at, b";", size)
    if parameters != NULL:
        size = <size_t>(parameters - at)
    while size and at[size - 1] == b" ":
        size -= 1
    if equals(at, size, b"application/senml+json", 22):
        return ENCODING_SENML_JSON
    if equals(at, size, b"application/x-cityfleet-batch", 29) or equals(at, size, b"application/x-protobuf", 22):
        return ENCODING_BATCH
    return encoding_of_suffix(at, size)


cdef TopicKind parse_below_id(const unsigned char* at, size_t size, unsigned char* encoding) noexcept nogil:
    encoding[0] = ENCODING_DEFAULT
    if size < 10 or memcmp(at, b"/telemetry", 10) != 0:
        return TOPIC_OTHER
    if size == 10:
        return TOPIC_TELEMETRY
    if at[10] != b"/" or (size > 11 and memchr(at + 11, b"/", size - 11) != NULL):
        return TOPIC_OTHER
    encoding[0] = encoding_of_suffix(at + 11, size - 11)
    return TOPIC_TELEMETRY


cdef TopicKind parse_topic(const unsigned char* topic, size_t size, Topic* out) noexcept nogil:
    cdef const unsigned char* slash
    cdef size_t id_size
    out.kind = TOPIC_FOREIGN
    if size < 10 or memcmp(topic, b"cf/v1/", 6) != 0 or topic[7] != b"/":
        return TOPIC_FOREIGN
    if topic[6] == b"d":
        out.scope = SCOPE_DEVICE
    elif topic[6] == b"g":
        out.scope = SCOPE_GATEWAY
    else:
        return TOPIC_FOREIGN
    slash = <const unsigned char*>memchr(topic + 8, b"/", size - 8)
    if slash == NULL:
        return TOPIC_FOREIGN
    id_size = <size_t>(slash - (topic + 8))
    if id_size == 0 or id_size > DEVICE_ID_MAX_BYTES:
        return TOPIC_FOREIGN
    out.id = topic + 8
    out.id_size = <unsigned char>id_size
    out.kind = parse_below_id(slash, size - 8 - id_size, &out.encoding)
    return <TopicKind>out.kind


def parse(bytes topic not None) -> tuple | None:
    """Parts of a topic: (scope, id, is_telemetry, encoding) as in FrameChunk; None if it is not of ours."""
    cdef Topic parts
    if parse_topic(topic, len(topic), &parts) == TOPIC_FOREIGN:
        return None
    return parts.scope, parts.id[:parts.id_size], parts.kind == TOPIC_TELEMETRY, parts.encoding


def content_type_encoding(bytes content_type not None) -> int:
    """The encoding of an MQTT 5 Content Type: 0 (the device type's default) if empty, 255 if none of ours."""
    return encoding_of_content_type(content_type, len(content_type))
