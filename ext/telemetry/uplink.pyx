# cython: language_level=3
"""Uplinks of LoRaWAN network servers: device, time and radio link, then the payload by the device's type."""

from ext.telemetry.frames cimport (
    REASON_EMPTY_PAYLOAD,
    REASON_MALFORMED_PAYLOAD,
    REASON_UNKNOWN_DEVICE,
    REASON_UNKNOWN_ENCODING,
)
from ext.telemetry.layout cimport decode_layout
from ext.telemetry.lpp cimport decode_lpp
from ext.telemetry.type_decoder cimport (
    LINK_F_CNT,
    LINK_RSSI,
    LINK_SNR,
    PORT_LAYOUT,
    PORT_LPP,
    PORT_NETWORK_SERVER,
    add_number,
    blame,
)
from ext.wire.base64 cimport decode_base64

from libc.string cimport memcpy, memset

cdef long long TRUSTED_MS = 86_400_000      # a gateway's clock further from the network server's is not believed


cdef void open_uplink(Uplink* uplink) noexcept nogil:
    memset(uplink, 0, sizeof(Uplink))


cdef void open_link(Link* link) noexcept nogil:
    memset(link, 0, sizeof(Link))


cdef void add_link(Uplink* uplink, Link* link) noexcept nogil:
    if link.has_time and (not uplink.has_gateway_time or link.gateway_ms < uplink.gateway_ms):
        uplink.gateway_ms = link.gateway_ms
        uplink.has_gateway_time = True
    if not link.has_rssi and not link.has_snr:
        return
    if not uplink.has_link or link.snr > uplink.best.snr \
            or (link.snr == uplink.best.snr and link.rssi > uplink.best.rssi):
        uplink.best = link[0]
        uplink.has_link = True


cdef long long time_of(Uplink* uplink, long long received_ms) noexcept nogil:
    cdef long long away
    if not uplink.has_network_time:
        return uplink.gateway_ms if uplink.has_gateway_time else received_ms
    if uplink.has_gateway_time:
        away = uplink.gateway_ms - uplink.network_ms
        if -TRUSTED_MS <= away <= TRUSTED_MS:
            return uplink.gateway_ms
    return uplink.network_ms


cdef bint add_link_metric(TypeDecoder decoder, Readings readings, int link_metric, double value, unsigned int device,
                          long long time_ms) noexcept:
    cdef int source = decoder.link_sources[link_metric]
    cdef long long metric
    if source < 0:
        return True
    metric = decoder.metric_of(readings, source)
    return metric >= 0 and add_number(readings, metric, device, time_ms, value)


cdef bint add_payload(Uplink* uplink, FrameChunk chunk, Readings readings, TypeDecoder decoder, MapObject map_object,
                      long long time_ms, unsigned int device, Fault* fault) noexcept:
    """The application's part. False: it, or its rest, is refused."""
    cdef unsigned char[MAX_UPLINK_BYTES] payload      # on the stack: adding readings moves their arena
    cdef Py_ssize_t size
    cdef unsigned char form = decoder.port_formats[uplink.f_port]
    cdef size_t before = readings.count
    cdef size_t texts_before = readings.text_count
    if form == PORT_NETWORK_SERVER:
        if uplink.object_at == NULL:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"the network server has not decoded the payload", 0)
        if not map_object(uplink, chunk, readings, decoder, time_ms, device, fault):
            readings.count = before
            readings.text_count = texts_before
            return False
        if readings.count == before and readings.text_count == texts_before:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"nothing in it that the device type maps", 0)
        return True
    if form != PORT_LAYOUT and form != PORT_LPP:
        return blame(fault, REASON_UNKNOWN_ENCODING, b"the device type decodes no payload of this f_port", 0)
    if uplink.is_encrypted:
        return blame(fault, REASON_MALFORMED_PAYLOAD, b"the payload is still encrypted", 0)
    if uplink.is_base64:
        size = decode_base64(readings.bytes_of(&uplink.payload), uplink.payload.size, payload, MAX_UPLINK_BYTES)
        if size < 0:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"the payload is not base64, or of more than 512 bytes", 0)
    else:
        if uplink.payload.size > MAX_UPLINK_BYTES:
            return blame(fault, REASON_MALFORMED_PAYLOAD, b"the payload is of more than 512 bytes", 0)
        size = uplink.payload.size
        memcpy(payload, readings.bytes_of(&uplink.payload), size)
    if form == PORT_LPP:
        return decode_lpp(payload, size, decoder, readings, time_ms, device, fault)
    return decode_layout(payload, size, uplink.f_port, decoder, readings, time_ms, device, fault)


cdef Outcome finish_uplink(Uplink* uplink, FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings,
                           MapObject map_object, Fault* fault) noexcept:
    cdef Text name = uplink.name if uplink.name.size else uplink.device_id
    cdef Text lower
    cdef unsigned char* at
    cdef int slot
    cdef object found
    cdef TypeDecoder decoder
    cdef long long time_ms = time_of(uplink, frame.received_ms)
    cdef unsigned int device
    cdef size_t i
    cdef size_t before = readings.count + readings.text_count
    if name.size == 0:
        blame(fault, REASON_MALFORMED_PAYLOAD, b"no DevEUI in it", 0)
        return REFUSED
    if name.size > 191:
        blame(fault, REASON_UNKNOWN_DEVICE, b"no device has a DevEUI as long as this", 0)
        return REFUSED
    # The Things Stack writes them in capitals.
    if readings.reserve_arena(name.size) or readings.put_own(readings.bytes_of(&name), name.size, &lower):
        blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
        return REFUSED
    at = readings.arena + lower.at
    for i in range(lower.size):
        if c"A" <= at[i] <= c"Z":
            at[i] += 32
    slot = index.find(at, lower.size)
    if slot < 0:
        slot = index.find_external(at, lower.size)
    if slot < 0:
        blame(fault, REASON_UNKNOWN_DEVICE, b"no device has this DevEUI as its id or external id", 0)
        return REFUSED
    found = index.decoder_of(index.devices[slot].type_num)
    if found is None:
        blame(fault, REASON_UNKNOWN_ENCODING, b"the device type does not say how its payloads are decoded", 0)
        return REFUSED
    decoder = <TypeDecoder>found
    decoder.begin()
    if readings.add_device(&lower):
        blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
        return REFUSED
    device = <unsigned int>(readings.device_count - 1)
    if not add_link_metric(decoder, readings, LINK_F_CNT, uplink.f_cnt, device, time_ms) \
            or (uplink.has_link and uplink.best.has_rssi
                and not add_link_metric(decoder, readings, LINK_RSSI, uplink.best.rssi, device, time_ms)) \
            or (uplink.has_link
                and not add_link_metric(decoder, readings, LINK_SNR, uplink.best.snr, device, time_ms)):
        blame(fault, REASON_MALFORMED_PAYLOAD, b"out of memory", 0)
        return REFUSED
    if uplink.payload.size == 0 and uplink.object_at == NULL:
        # an uplink of the network's own, as MAC answers are
        if readings.count + readings.text_count > before:
            return DECODED
        blame(fault, REASON_EMPTY_PAYLOAD, b"an uplink without a payload", 0)
        return REFUSED
    if add_payload(uplink, chunk, readings, decoder, map_object, time_ms, device, fault):
        return DECODED
    return DECODED_PARTLY if readings.count + readings.text_count > before else REFUSED
