# cython: language_level=3
"""Decode: the frames of a chunk to readings by name."""

from ext.telemetry.frames cimport (
    ENCODING_BATCH,
    ENCODING_CHIRPSTACK_PROTOBUF,
    ENCODING_DEFAULT,
    ENCODING_SENML_CBOR,
    ENCODING_JSON,
    ENCODING_LAYOUT,
    ENCODING_LPP,
    ENCODING_SENML_JSON,
    ENCODING_TTS_JSON,
    ENCODING_SPARKPLUG,
    REASON_COUNT,
    REASON_EMPTY_PAYLOAD,
    REASON_MALFORMED_PAYLOAD,
    REASON_UNKNOWN_DEVICE,
    REASON_UNKNOWN_ENCODING,
    REASON_UNSUPPORTED_TOPIC,
    Frame,
    FrameChunk,
)
from ext.telemetry.device_states cimport DeviceStates
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.json_scan cimport Scanner
from ext.telemetry.batch cimport BatchDecoder
from ext.telemetry.cbor cimport Cbor
from ext.telemetry.readings cimport Readings, StageCounters, begin_span, end_span
from ext.telemetry.senml cimport decode_senml
from ext.telemetry.senml_cbor cimport decode_senml_cbor
from ext.telemetry.by_type cimport decode_by_type
from ext.telemetry.type_decoder cimport Fault
from ext.telemetry.uplink cimport DECODED, Outcome
from ext.telemetry.sparkplug cimport SPARKPLUG_REFUSED, SparkplugDecoder
from ext.telemetry.state_document cimport is_state_topic, take_state


cdef int refuse(Readings readings, StageCounters counters, size_t frame, unsigned char encoding, unsigned char reason,
                const char* detail, size_t offset) except -1:
    if reason >= REASON_COUNT:
        raise ValueError(f"a transport refused a frame for the unknown reason {reason}")
    if readings.add_refusal(frame, encoding, reason, detail, offset):
        raise MemoryError
    counters.refused_by[reason] += 1
    return 0


def decode_chunk(FrameChunk chunk not None, DeviceIndex index not None, BatchDecoder batches not None,
                 Readings readings not None, StageCounters counters not None,
                 SparkplugDecoder sparkplug=None, DeviceStates states=None) -> None:
    """Decode every frame of a chunk; `readings` holds nothing else afterwards.

    A payload that cannot be decoded is refused as a whole. So is a frame that its transport has refused, undecoded.

    Args:
        index: gives the encoding of frames that name none.
        counters: items in are frames, items out readings; refused are frames.
        sparkplug: what is known of Sparkplug's edge nodes; without it their payloads are refused (unknown_encoding).
        states: where `state` documents go, which are no readings; without it they are refused (unsupported_topic).
    Raises: MemoryError, then the chunk has to be decoded again; ValueError for a frame with a reason that is none.
    """
    cdef Frame* frame
    cdef Scanner scan
    cdef Cbor cbor
    cdef size_t i
    cdef size_t before
    cdef unsigned char encoding
    cdef Fault fault
    cdef Outcome outcome
    readings.clear(chunk)
    if sparkplug is not None:
        sparkplug.begin()
    for i in range(chunk.count):
        frame = &chunk.frames[i]
        counters.items_in += 1
        encoding = frame.encoding
        if encoding == ENCODING_DEFAULT and 0 <= frame.sender < index.count:
            encoding = index.at(frame.sender).default_encoding
        if frame.reason == REASON_UNSUPPORTED_TOPIC and states is not None and is_state_topic(chunk, frame):
            if not take_state(chunk, frame, index, readings, states, &fault):
                refuse(readings, counters, i, encoding, fault.reason, fault.detail, fault.offset)
            continue
        if frame.reason:
            refuse(readings, counters, i, encoding, frame.reason, b"", 0)
            continue
        if frame.payload_size == 0:
            refuse(readings, counters, i, encoding, REASON_EMPTY_PAYLOAD, b"", 0)
            continue
        before = readings.count + readings.text_count
        if encoding == ENCODING_SENML_JSON:
            if begin_span(readings, i, encoding) == NULL:
                raise MemoryError
            scan.chunk = chunk.data
            scan.start = chunk.data + frame.payload_at
            scan.at = scan.start
            scan.end = scan.start + frame.payload_size
            if decode_senml(&scan, readings, frame.received_ms):
                end_span(readings)
            else:
                readings.drop_span()
                if readings.ran_out:
                    raise MemoryError
                refuse(readings, counters, i, encoding, REASON_MALFORMED_PAYLOAD, scan.detail, scan.at - scan.start)
        elif encoding == ENCODING_BATCH:
            if begin_span(readings, i, encoding) == NULL:
                raise MemoryError
            if batches.decode(chunk.data + frame.payload_at, frame.payload_size, chunk.data, readings):
                end_span(readings)
            else:
                readings.drop_span()
                if batches.ran_out() or readings.ran_out:
                    raise MemoryError
                refuse(readings, counters, i, encoding, REASON_MALFORMED_PAYLOAD, batches.detail, batches.offset)
        elif encoding == ENCODING_SENML_CBOR:
            if begin_span(readings, i, encoding) == NULL:
                raise MemoryError
            cbor.chunk = chunk.data
            cbor.start = chunk.data + frame.payload_at
            cbor.at = cbor.start
            cbor.end = cbor.start + frame.payload_size
            if decode_senml_cbor(&cbor, readings, frame.received_ms):
                end_span(readings)
            else:
                readings.drop_span()
                if readings.ran_out:
                    raise MemoryError
                refuse(readings, counters, i, encoding, REASON_MALFORMED_PAYLOAD, cbor.detail, cbor.at - cbor.start)
        elif encoding == ENCODING_JSON or encoding == ENCODING_LPP or encoding == ENCODING_LAYOUT \
                or ENCODING_TTS_JSON <= encoding <= ENCODING_CHIRPSTACK_PROTOBUF:
            outcome = decode_by_type(chunk, i, &encoding, index, readings, &fault)
            if readings.ran_out:
                raise MemoryError
            if outcome != DECODED:
                refuse(readings, counters, i, encoding, fault.reason, fault.detail, fault.offset)
        elif encoding == ENCODING_SPARKPLUG and sparkplug is not None:
            if sparkplug.decode(chunk, i, index, readings) == SPARKPLUG_REFUSED:
                refuse(readings, counters, i, encoding, sparkplug.reason, sparkplug.detail, sparkplug.offset)
        elif encoding == ENCODING_DEFAULT:
            refuse(readings, counters, i, encoding, REASON_UNKNOWN_DEVICE, b"", 0)
        else:
            refuse(readings, counters, i, encoding, REASON_UNKNOWN_ENCODING, b"", 0)
        counters.items_out += readings.count + readings.text_count - before
