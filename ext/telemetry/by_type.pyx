# cython: language_level=3
"""Payloads that are decoded as their device's type says, plain or inside a network server's uplink."""

from ext.telemetry.frames cimport (
    ENCODING_CHIRPSTACK_JSON,
    ENCODING_CHIRPSTACK_PROTOBUF,
    ENCODING_JSON,
    ENCODING_LPP,
    ENCODING_TTS_JSON,
    REASON_MALFORMED_PAYLOAD,
    REASON_UNKNOWN_DEVICE,
    REASON_UNKNOWN_ENCODING,
    Frame,
)
from ext.telemetry.json_map cimport decode_json
from ext.telemetry.json_scan cimport Scanner
from ext.telemetry.layout cimport NO_PORT, decode_layout
from ext.telemetry.lpp cimport decode_lpp
from ext.telemetry.readings cimport OWN_DEVICE
from ext.telemetry.type_decoder cimport TypeDecoder, blame
from ext.telemetry.uplink cimport DECODED, DECODED_PARTLY, REFUSED
from ext.telemetry.uplink_json cimport decode_uplink_json
from ext.telemetry.uplink_protobuf cimport decode_uplink_protobuf


cdef Outcome decode_plain(FrameChunk chunk, Frame* frame, unsigned char encoding, DeviceIndex index, Readings readings,
                          Fault* fault) noexcept:
    """A payload of the sender itself, by its own type."""
    cdef object found
    cdef TypeDecoder decoder
    cdef Scanner scan
    cdef const unsigned char* payload = chunk.data + frame.payload_at
    cdef size_t before = readings.count
    if not 0 <= frame.sender < index.count:
        blame(fault, REASON_UNKNOWN_DEVICE, b"", 0)
        return REFUSED
    found = index.decoder_of(index.devices[frame.sender].type_num)
    if found is None:
        blame(fault, REASON_UNKNOWN_ENCODING, b"the device type does not say how its payloads are decoded", 0)
        return REFUSED
    decoder = <TypeDecoder>found
    decoder.begin()
    if encoding == ENCODING_JSON:
        scan.chunk = chunk.data
        scan.start = payload
        scan.at = payload
        scan.end = payload + frame.payload_size
        scan.detail = b""
        if decode_json(&scan, readings, decoder, frame.received_ms):
            return DECODED
        blame(fault, REASON_MALFORMED_PAYLOAD, scan.detail, scan.at - scan.start)
        return REFUSED
    if encoding == ENCODING_LPP:
        if decode_lpp(payload, frame.payload_size, decoder, readings, frame.received_ms, OWN_DEVICE, fault):
            return DECODED
        return DECODED_PARTLY if readings.count > before else REFUSED
    if decode_layout(payload, frame.payload_size, NO_PORT, decoder, readings, frame.received_ms, OWN_DEVICE, fault):
        return DECODED
    return REFUSED


cdef Outcome decode_by_type(FrameChunk chunk, size_t frame_at, unsigned char* encoding, DeviceIndex index,
                            Readings readings, Fault* fault) noexcept:
    cdef Frame* frame = &chunk.frames[frame_at]
    cdef Outcome outcome
    if encoding[0] == ENCODING_CHIRPSTACK_JSON or encoding[0] == ENCODING_CHIRPSTACK_PROTOBUF:
        # no protobuf message of theirs begins with the tag that `{` would be
        encoding[0] = ENCODING_CHIRPSTACK_JSON if chunk.data[frame.payload_at] == c"{" else ENCODING_CHIRPSTACK_PROTOBUF
    if readings.open_span(frame_at, encoding[0]) == NULL:
        blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
        return REFUSED
    if encoding[0] == ENCODING_TTS_JSON or encoding[0] == ENCODING_CHIRPSTACK_JSON:
        outcome = decode_uplink_json(chunk, frame, encoding[0] == ENCODING_CHIRPSTACK_JSON, index, readings, fault)
    elif encoding[0] == ENCODING_CHIRPSTACK_PROTOBUF:
        outcome = decode_uplink_protobuf(chunk, frame, index, readings, fault)
    else:
        outcome = decode_plain(chunk, frame, encoding[0], index, readings, fault)
    if outcome == REFUSED:
        readings.drop_span()
    else:
        readings.close_span()
    return outcome
