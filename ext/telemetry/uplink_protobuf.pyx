# cython: language_level=3
"""ChirpStack v4 uplinks in protobuf: integration.UplinkEvent of chirpstack-api 4 with a google.protobuf.Struct."""

from libc.string cimport memcpy

from ext.telemetry.frames cimport REASON_MALFORMED_PAYLOAD
from ext.telemetry.json_map cimport (
    Sample,
    close_document,
    close_sample,
    open_sample,
    put_boolean,
    put_container,
    put_number,
    put_string,
)
from ext.telemetry.json_scan cimport MAX_DEPTH
from ext.telemetry.protobuf cimport (
    WIRE_BYTES,
    WIRE_FIXED32,
    WIRE_FIXED64,
    WIRE_VARINT,
    Wire,
    read_bytes,
    read_tag,
    read_varint,
    skip_field,
)
from ext.telemetry.readings cimport Text
from ext.telemetry.type_decoder cimport NO_NODE, NODE_RECORDS, ROOT, TypeDecoder, blame
from ext.telemetry.uplink cimport (
    REFUSED,
    Link,
    Uplink,
    add_link,
    finish_uplink,
    open_link,
    open_uplink,
)
from ext.wire.utf8 cimport is_utf8

cdef enum ValueKind:            # google.protobuf.Value.kind
    VALUE_NONE = 0
    VALUE_NULL = 1
    VALUE_NUMBER = 2
    VALUE_STRING = 3
    VALUE_BOOL = 4
    VALUE_STRUCT = 5
    VALUE_LIST = 6

cdef long long MAX_SECONDS = 1_000_000_000_000_000


cdef inline Text text_of(FrameChunk chunk, Wire* inner) noexcept:
    cdef Text text
    text.at = inner.at - chunk.data
    text.size = <unsigned int>(inner.end - inner.at)
    text.is_own = 0
    return text


cdef bint read_fixed64(Wire* wire, double* out) noexcept nogil:
    if wire.end - wire.at < 8:
        return False
    memcpy(out, wire.at, 8)
    wire.at += 8
    return True


cdef bint read_fixed32(Wire* wire, float* out) noexcept nogil:
    if wire.end - wire.at < 4:
        return False
    memcpy(out, wire.at, 4)
    wire.at += 4
    return True


cdef bint read_timestamp(Wire wire, long long* ms) noexcept nogil:
    """google.protobuf.Timestamp; digits beyond milliseconds are cut off."""
    cdef unsigned int field, wire_type
    cdef unsigned long long number
    cdef long long seconds = 0
    cdef long long nanos = 0
    while wire.at < wire.end:
        if not read_tag(&wire, &field, &wire_type):
            return False
        if wire_type == WIRE_VARINT and (field == 1 or field == 2):
            if not read_varint(&wire, &number):
                return False
            if field == 1:
                seconds = <long long>number
            else:
                nanos = <int><unsigned int>number
        elif not skip_field(&wire, field, wire_type, 0):
            return False
    if not -MAX_SECONDS <= seconds <= MAX_SECONDS or not 0 <= nanos < 1_000_000_000:
        return False
    ms[0] = seconds * 1000 + nanos // 1_000_000
    return True


cdef bint read_link(Wire wire, Link* link) noexcept nogil:
    """gw.UplinkRxInfo."""
    cdef unsigned int field, wire_type
    cdef unsigned long long number
    cdef float single
    cdef Wire inner
    while wire.at < wire.end:
        if not read_tag(&wire, &field, &wire_type):
            return False
        if field == 3 and wire_type == WIRE_BYTES:
            if not read_bytes(&wire, &inner) or not read_timestamp(inner, &link.gateway_ms):
                return False
            link.has_time = True
        elif field == 6 and wire_type == WIRE_VARINT:
            if not read_varint(&wire, &number):
                return False
            link.rssi = <int><unsigned int>number
            link.has_rssi = True
        elif field == 7 and wire_type == WIRE_FIXED32:
            if not read_fixed32(&wire, &single):
                return False
            link.snr = single
            link.has_snr = True
        elif not skip_field(&wire, field, wire_type, 0):
            return False
    return True


cdef bint read_info(Wire wire, FrameChunk chunk, Uplink* uplink) noexcept:
    """integration.DeviceInfo."""
    cdef unsigned int field, wire_type
    cdef Wire inner
    while wire.at < wire.end:
        if not read_tag(&wire, &field, &wire_type):
            return False
        if field == 8 and wire_type == WIRE_BYTES:
            if not read_bytes(&wire, &inner) or not is_utf8(inner.at, inner.end - inner.at):
                return False
            uplink.name = text_of(chunk, &inner)
        elif not skip_field(&wire, field, wire_type, 0):
            return False
    return True


cdef bint read_event(Wire* wire, FrameChunk chunk, Uplink* uplink) noexcept:
    """integration.UplinkEvent. False: malformed at wire.at."""
    cdef unsigned int field, wire_type
    cdef unsigned long long number
    cdef Wire inner
    cdef Link link
    while wire.at < wire.end:
        if not read_tag(wire, &field, &wire_type):
            return False
        if wire_type == WIRE_VARINT and (field == 7 or field == 8):
            if not read_varint(wire, &number):
                return False
            number &= 0xFFFFFFFF
            if field == 7:
                uplink.f_cnt = <double>number
            elif number > 255:
                return False
            else:
                uplink.f_port = <int>number
        elif wire_type == WIRE_BYTES and (field == 2 or field == 3 or field == 10 or field == 11 or field == 12
                                          or field == 15):
            if not read_bytes(wire, &inner):
                return False
            if field == 2:
                if not read_timestamp(inner, &uplink.network_ms):
                    return False
                uplink.has_network_time = True
            elif field == 3:
                if not read_info(inner, chunk, uplink):
                    return False
            elif field == 10:
                uplink.payload = text_of(chunk, &inner)
            elif field == 11:
                uplink.object_at = inner.at
                uplink.object_end = inner.end
            elif field == 12:
                open_link(&link)
                if not read_link(inner, &link):
                    return False
                add_link(uplink, &link)
            else:
                uplink.is_encrypted = True
        elif not skip_field(wire, field, wire_type, 0):
            return False
    return True


cdef struct Value:
    ValueKind kind
    double number
    Wire inner                  # of a string, struct or list
    bint boolean


cdef bint read_value(Wire wire, Value* value) noexcept nogil:
    """google.protobuf.Value: the last member of its oneof counts."""
    cdef unsigned int field, wire_type
    cdef unsigned long long number
    value.kind = VALUE_NONE
    while wire.at < wire.end:
        if not read_tag(&wire, &field, &wire_type):
            return False
        if field == VALUE_NUMBER and wire_type == WIRE_FIXED64:
            if not read_fixed64(&wire, &value.number):
                return False
            value.kind = VALUE_NUMBER
        elif (field == VALUE_NULL or field == VALUE_BOOL) and wire_type == WIRE_VARINT:
            if not read_varint(&wire, &number):
                return False
            value.kind = <ValueKind>field
            value.boolean = number != 0
        elif (field == VALUE_STRING or field == VALUE_STRUCT or field == VALUE_LIST) and wire_type == WIRE_BYTES:
            if not read_bytes(&wire, &value.inner):
                return False
            value.kind = <ValueKind>field
        elif not skip_field(&wire, field, wire_type, 0):
            return False
    return True


cdef bint walk_value(Value* value, FrameChunk chunk, Readings readings, TypeDecoder decoder, int node, Sample* sample,
                     int depth, const char** detail) noexcept:
    cdef Text text
    if decoder.nodes[node].flags & NODE_RECORDS and not sample.is_inside:
        if value.kind == VALUE_NONE or value.kind == VALUE_NULL:
            return True
        if value.kind != VALUE_LIST:
            detail[0] = b"the records are not an array"
            return False
        return walk_list(value.inner, chunk, readings, decoder, NO_NODE, sample, depth + 1, detail)
    if value.kind == VALUE_NUMBER:
        return put_number(readings, decoder, node, sample, value.number, detail)
    if value.kind == VALUE_BOOL:
        return put_boolean(readings, decoder, node, sample, value.boolean, detail)
    if value.kind == VALUE_STRING:
        if not is_utf8(value.inner.at, value.inner.end - value.inner.at):
            detail[0] = b"not UTF-8"
            return False
        text = text_of(chunk, &value.inner)
        return put_string(readings, decoder, node, sample, &text, detail)
    if value.kind == VALUE_STRUCT or value.kind == VALUE_LIST:
        if not put_container(readings, decoder, node, sample, detail):
            return False
        if value.kind == VALUE_STRUCT:
            return walk_struct(value.inner, chunk, readings, decoder, node, sample, depth + 1, detail)
        return walk_list(value.inner, chunk, readings, decoder, node, sample, depth + 1, detail)
    return True


cdef bint walk_list(Wire wire, FrameChunk chunk, Readings readings, TypeDecoder decoder, int node, Sample* sample,
                    int depth, const char** detail) noexcept:
    """google.protobuf.ListValue; without a node its values are samples."""
    cdef unsigned int field, wire_type
    cdef unsigned int position = 0
    cdef Wire inner
    cdef Value value
    cdef Sample own
    cdef int below
    detail[0] = b"nested too deep"
    if depth > MAX_DEPTH:
        return False
    while wire.at < wire.end:
        detail[0] = b"not a google.protobuf.Struct"
        if not read_tag(&wire, &field, &wire_type):
            return False
        if field != 1 or wire_type != WIRE_BYTES:
            if not skip_field(&wire, field, wire_type, 0):
                return False
            continue
        if not read_bytes(&wire, &inner) or not read_value(inner, &value):
            return False
        if node == NO_NODE:
            open_sample(&own, readings, True, True)
            if not walk_value(&value, chunk, readings, decoder, ROOT, &own, depth, detail):
                return False
            close_sample(&own, readings)
        else:
            below = decoder.child_at(node, position)
            position += 1
            if below != NO_NODE and not walk_value(&value, chunk, readings, decoder, below, sample, depth, detail):
                return False
    return True


cdef bint walk_struct(Wire wire, FrameChunk chunk, Readings readings, TypeDecoder decoder, int node, Sample* sample,
                      int depth, const char** detail) noexcept:
    """google.protobuf.Struct: entries of label and value."""
    cdef unsigned int field, wire_type
    cdef Wire entry, label, inner
    cdef Value value
    cdef bint has_value
    cdef int below
    detail[0] = b"nested too deep"
    if depth > MAX_DEPTH:
        return False
    while wire.at < wire.end:
        detail[0] = b"not a google.protobuf.Struct"
        if not read_tag(&wire, &field, &wire_type):
            return False
        if field != 1 or wire_type != WIRE_BYTES:
            if not skip_field(&wire, field, wire_type, 0):
                return False
            continue
        if not read_bytes(&wire, &entry):
            return False
        label.at = label.end = entry.at
        has_value = False
        while entry.at < entry.end:
            if not read_tag(&entry, &field, &wire_type):
                return False
            if field == 1 and wire_type == WIRE_BYTES:
                if not read_bytes(&entry, &label):
                    return False
            elif field == 2 and wire_type == WIRE_BYTES:
                if not read_bytes(&entry, &inner):
                    return False
                has_value = True
            elif not skip_field(&entry, field, wire_type, 0):
                return False
        if not has_value:
            continue
        below = decoder.child(node, label.at, label.end - label.at)
        if below == NO_NODE:
            continue
        if not read_value(inner, &value) \
                or not walk_value(&value, chunk, readings, decoder, below, sample, depth, detail):
            return False
    return True


cdef bint map_object(Uplink* uplink, FrameChunk chunk, Readings readings, TypeDecoder decoder, long long time_ms,
                     unsigned int device, Fault* fault) noexcept:
    cdef Sample document
    cdef Wire wire
    cdef const char* detail = b""
    wire.at = uplink.object_at
    wire.end = uplink.object_end
    # without records the object is one sample, and what it names is the sample's
    open_sample(&document, readings, not decoder.has_records, True)
    if not walk_struct(wire, chunk, readings, decoder, ROOT, &document, 1, &detail):
        return blame(fault, REASON_MALFORMED_PAYLOAD, detail, 0)
    close_document(&document, readings, time_ms, device)
    return True


cdef Outcome decode_uplink_protobuf(FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings,
                                    Fault* fault) noexcept:
    cdef Uplink uplink
    cdef Wire wire
    open_uplink(&uplink)
    wire.at = chunk.data + frame.payload_at
    wire.end = wire.at + frame.payload_size
    if not read_event(&wire, chunk, &uplink):
        blame(fault, REASON_MALFORMED_PAYLOAD, b"not an integration.UplinkEvent",
              wire.at - (chunk.data + frame.payload_at))
        return REFUSED
    return finish_uplink(&uplink, chunk, frame, index, readings, map_object, fault)
