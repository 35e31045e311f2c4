# cython: language_level=3
"""A chunk of frames: who sent what on which topic and when, in one arena of bytes."""

from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

ENCODING_NAMES = {
    "senml-json": ENCODING_SENML_JSON,
    "batch": ENCODING_BATCH,
    "senml-cbor": ENCODING_SENML_CBOR,
    "json": ENCODING_JSON,
    "lpp": ENCODING_LPP,
    "layout": ENCODING_LAYOUT,
    "sparkplug": ENCODING_SPARKPLUG,
    "tts": ENCODING_TTS_JSON,
    "chirpstack": ENCODING_CHIRPSTACK_JSON,
    "chirpstack-protobuf": ENCODING_CHIRPSTACK_PROTOBUF,
}
SCOPES = {"device": SCOPE_DEVICE, "gateway": SCOPE_GATEWAY}

REASON_NAMES = (
    "", "unknown_device", "not_behind_gateway", "unsupported_topic", "unknown_encoding", "empty_payload",
    "malformed_payload", "unknown_metric", "unknown_unit", "time_out_of_range", "value_not_finite",
    "value_not_numeric", "sum_without_value", "payload_too_large", "unknown_alias", "unsupported_datatype",
    "type_mismatch",
)


cdef class FrameChunk:
    """Frames of one transport, gathered for a few milliseconds; `len(chunk)` frames, `chunk.size_bytes` of arena."""

    def __cinit__(self, str transport, object on_durable=None):
        self.transport = transport
        self.on_durable = on_durable

    def __dealloc__(self):
        free(self.data)
        free(self.frames)

    def __len__(self) -> int:
        return self.count

    @property
    def size_bytes(self) -> int:
        return self.size + self.count * sizeof(Frame)

    @property
    def received_ms(self) -> tuple[int, int]:
        """The earliest and the latest time at which a frame was received; (0, 0) without frames."""
        cdef long long first = 0, last = 0
        cdef size_t i
        for i in range(self.count):
            if i == 0 or self.frames[i].received_ms < first:
                first = self.frames[i].received_ms
            if i == 0 or self.frames[i].received_ms > last:
                last = self.frames[i].received_ms
        return first, last

    cdef Frame* append(self, const unsigned char* topic, size_t topic_size,
                       const unsigned char* payload, size_t payload_size) noexcept:
        cdef size_t wanted = self.size + topic_size + payload_size
        cdef size_t room
        cdef void* grown
        cdef Frame* frame
        if wanted > self.capacity:
            room = max(wanted, self.capacity * 2, <size_t>65536)
            grown = realloc(self.data, room)
            if grown == NULL:
                return NULL
            self.data = <unsigned char*>grown
            self.capacity = room
        if self.count == self.frames_capacity:
            room = max(self.frames_capacity * 2, <size_t>1024)
            grown = realloc(self.frames, room * sizeof(Frame))
            if grown == NULL:
                return NULL
            self.frames = <Frame*>grown
            self.frames_capacity = room
        frame = &self.frames[self.count]
        memset(frame, 0, sizeof(Frame))
        frame.topic_at = self.size
        frame.topic_size = <unsigned int>topic_size
        frame.payload_at = self.size + topic_size
        frame.payload_size = <unsigned int>payload_size
        if topic_size:
            memcpy(self.data + self.size, topic, topic_size)
        if payload_size:
            memcpy(self.data + frame.payload_at, payload, payload_size)
        self.size = wanted
        self.count += 1
        return frame

    cdef void clear(self) noexcept:
        self.size = 0
        self.count = 0

    def add(self, bytes topic not None, bytes payload not None, *, int sender=-1, int encoding=0, int scope=0,
            int reason=0, long long received_ms=0, unsigned long long ack_ref=0, bint is_trusted=False) -> None:
        """Append one frame from Python: for transports that are not the hot path, and for tests."""
        cdef Frame* frame = self.append(topic, len(topic), payload, len(payload))
        if frame == NULL:
            raise MemoryError
        frame.sender = sender
        frame.encoding = <unsigned char>encoding
        frame.scope = <unsigned char>scope
        frame.reason = <unsigned char>reason
        frame.received_ms = received_ms
        frame.ack_ref = ack_ref
        frame.is_trusted = is_trusted

    def ack_refs(self) -> list:
        """The `ack_ref` of every frame, in order."""
        return [self.frames[i].ack_ref for i in range(self.count)]
