# cython: language_level=3
"""What a device says of itself on cf/v1/d/{device}/state: a JSON object, kept for the registry."""

from libc.string cimport memcmp

from ext.telemetry.device_states cimport MAX_DOCUMENT_BYTES, mark_seen
from ext.telemetry.frames cimport (
    REASON_EMPTY_PAYLOAD,
    REASON_MALFORMED_PAYLOAD,
    REASON_UNKNOWN_DEVICE,
    REASON_UNSUPPORTED_TOPIC,
    SCOPE_DEVICE,
)
from ext.telemetry.index cimport DEVICE_ACTIVE
from ext.telemetry.json_scan cimport Scanner, skip_space, skip_value
from ext.telemetry.topic cimport TOPIC_OTHER, Topic, parse_topic
from ext.telemetry.type_decoder cimport blame

cdef enum:
    PREFIX_BYTES = 8                # cf/v1/d/


cdef bint is_state_topic(FrameChunk chunk, Frame* frame) noexcept:
    cdef const unsigned char* at = chunk.data + frame.topic_at
    cdef Topic topic
    if parse_topic(at, frame.topic_size, &topic) != TOPIC_OTHER or topic.scope != SCOPE_DEVICE:
        return False
    return frame.topic_size == PREFIX_BYTES + topic.id_size + 6 and memcmp(
        at + PREFIX_BYTES + topic.id_size, b"/state", 6
    ) == 0


cdef bint take_state(FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings, DeviceStates states,
                     Fault* fault) except -1:
    cdef Scanner scan
    if not 0 <= frame.sender < index.count or not index.devices[frame.sender].flags & DEVICE_ACTIVE:
        return blame(fault, REASON_UNKNOWN_DEVICE, b"", 0)
    mark_seen(states, frame.sender, frame.received_ms)
    if frame.payload_size == 0:
        return blame(fault, REASON_EMPTY_PAYLOAD, b"", 0)
    if frame.payload_size > MAX_DOCUMENT_BYTES:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"a state document of more than 16384 bytes", 0)
    scan.chunk = chunk.data
    scan.start = chunk.data + frame.payload_at
    scan.at = scan.start
    scan.end = scan.start + frame.payload_size
    skip_space(&scan)
    if scan.at == scan.end or scan.at[0] != c"{":
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"a state document is a JSON object", 0)
    if not skip_value(&scan, readings, 0):
        if readings.ran_out:
            raise MemoryError
        return blame(fault, REASON_MALFORMED_PAYLOAD, scan.detail, <size_t>(scan.at - scan.start))
    skip_space(&scan)
    if scan.at != scan.end:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"something follows the JSON object",
                     <size_t>(scan.at - scan.start))
    if not states.take_document(frame.sender, scan.start, frame.payload_size, frame.received_ms):
        return blame(fault, REASON_UNSUPPORTED_TOPIC, b"no room for state documents: the registry is away", 0)
    return True
