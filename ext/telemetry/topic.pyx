# cython: language_level=3
"""Topics of cityfleet, cf/v1/d/{device}/... and cf/v1/g/{gateway}/..., and those of foreign systems as they are."""

from libc.string cimport memchr, memcmp

from ext.telemetry.frames cimport (
    ENCODING_BATCH,
    ENCODING_CHIRPSTACK_JSON,
    ENCODING_CHIRPSTACK_PROTOBUF,
    ENCODING_DEFAULT,
    ENCODING_JSON,
    ENCODING_LAYOUT,
    ENCODING_LPP,
    ENCODING_SENML_CBOR,
    ENCODING_SENML_JSON,
    ENCODING_SPARKPLUG,
    ENCODING_TTS_JSON,
    ENCODING_UNKNOWN,
    SCOPE_DEVICE,
    SCOPE_GATEWAY,
)


cdef inline bint equals(const unsigned char* at, size_t size, const char* text, size_t text_size) noexcept nogil:
    return size == text_size and memcmp(at, text, text_size) == 0


cdef unsigned char encoding_of_suffix(const unsigned char* at, size_t size) noexcept nogil:
    # Not `senml+json`: `+` is a wildcard, which no topic name may have (MQTT 5.0 section 4.7.1).
    if equals(at, size, b"senml-json", 10):
        return ENCODING_SENML_JSON
    if equals(at, size, b"batch", 5):
        return ENCODING_BATCH
    if equals(at, size, b"senml-cbor", 10):
        return ENCODING_SENML_CBOR
    if equals(at, size, b"json", 4):
        return ENCODING_JSON
    if equals(at, size, b"lpp", 3):
        return ENCODING_LPP
    if equals(at, size, b"layout", 6):
        return ENCODING_LAYOUT
    if equals(at, size, b"sparkplug", 9):
        return ENCODING_SPARKPLUG
    if equals(at, size, b"tts", 3):
        return ENCODING_TTS_JSON
    if equals(at, size, b"chirpstack", 10):
        return ENCODING_CHIRPSTACK_JSON
    if equals(at, size, b"chirpstack-protobuf", 19):
        return ENCODING_CHIRPSTACK_PROTOBUF
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
    if equals(at, size, b"application/senml+json", 22) or equals(at, size, b"application/sensml+json", 23):
        return ENCODING_SENML_JSON
    if equals(at, size, b"application/senml+cbor", 22) or equals(at, size, b"application/sensml+cbor", 23):
        return ENCODING_SENML_CBOR
    if equals(at, size, b"application/json", 16):
        return ENCODING_JSON
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


cdef bint take_level(const unsigned char** at, size_t* size) noexcept nogil:
    """Step over one level that is not empty, and the slash behind it."""
    cdef const unsigned char* slash = <const unsigned char*>memchr(at[0], b"/", size[0]) if size[0] else NULL
    if slash == NULL or slash == at[0]:
        return False
    size[0] -= <size_t>(slash + 1 - at[0])
    at[0] = slash + 1
    return True


cdef bint take_text(const unsigned char** at, size_t* size, const char* text, size_t text_size) noexcept nogil:
    if size[0] < text_size or memcmp(at[0], text, text_size) != 0:
        return False
    at[0] += text_size
    size[0] -= text_size
    return True


cdef unsigned char foreign_encoding(const unsigned char* topic, size_t size) noexcept nogil:
    cdef const unsigned char* at = topic
    if take_text(&at, &size, b"spBv1.0/", 8):
        return ENCODING_SPARKPLUG
    if take_text(&at, &size, b"v3/", 3):
        if take_level(&at, &size) and take_text(&at, &size, b"devices/", 8) and take_level(&at, &size) \
                and equals(at, size, b"up", 2):
            return ENCODING_TTS_JSON
    elif take_text(&at, &size, b"application/", 12):
        if take_level(&at, &size) and take_text(&at, &size, b"device/", 7) and take_level(&at, &size) \
                and equals(at, size, b"event/up", 8):
            return ENCODING_CHIRPSTACK_JSON
    return ENCODING_UNKNOWN


def parse(bytes topic not None) -> tuple | None:
    """Parts of a topic: (scope, id, is_telemetry, encoding) as in FrameChunk; None if it is not of ours."""
    cdef Topic parts
    if parse_topic(topic, len(topic), &parts) == TOPIC_FOREIGN:
        return None
    return parts.scope, parts.id[:parts.id_size], parts.kind == TOPIC_TELEMETRY, parts.encoding


def content_type_encoding(bytes content_type not None) -> int:
    """The encoding of an MQTT 5 Content Type: 0 (the device type's default) if empty, 255 if none of ours."""
    return encoding_of_content_type(content_type, len(content_type))


def foreign(bytes topic not None) -> int:
    """The family of a foreign topic as an encoding: 7, 8 or 9; 255 if nothing here consumes it."""
    return foreign_encoding(topic, len(topic))
