# cython: language_level=3
"""Uplinks in JSON: The Things Stack v3 and ChirpStack v4. Both leave out fields that are zero, empty or false.

Sources: The Things Stack, "Data Formats"; ChirpStack, "Event types" (protobuf JSON mapping of integration.UplinkEvent).
"""

from libc.math cimport rint
from libc.string cimport memcmp

from ext.telemetry.frames cimport REASON_MALFORMED_PAYLOAD
from ext.telemetry.json_map cimport map_json
from ext.telemetry.json_scan cimport (
    Scanner,
    String,
    fail,
    scan_literal,
    scan_number,
    scan_string,
    skip_space,
    skip_value,
    take,
)
from ext.telemetry.readings cimport Text
from ext.telemetry.type_decoder cimport TypeDecoder, blame
from ext.telemetry.uplink cimport (
    REFUSED,
    Link,
    Uplink,
    add_link,
    finish_uplink,
    open_link,
    open_uplink,
)
from ext.wire.rfc3339 cimport read_rfc3339

cdef enum Place:
    NOWHERE = 0
    TTS_TOP = 1
    TTS_IDS = 2
    TTS_MESSAGE = 3
    TTS_LINK = 4
    CHIRPSTACK_TOP = 5
    CHIRPSTACK_INFO = 6
    CHIRPSTACK_LINK = 7
    FIRST_LEAF = 8
    LINKS = 9                   # an array of receptions
    DEV_EUI = 10
    DEVICE_ID = 11
    F_PORT = 12
    F_CNT = 13
    PAYLOAD = 14
    OBJECT = 15
    GATEWAY_TIME = 16
    NETWORK_TIME = 17
    NETWORK_TIME_IF_NONE = 18
    RSSI = 19
    SNR = 20
    ENCRYPTED = 21

cdef struct Edge:
    int place
    const char* label
    size_t size
    int to

cdef enum:
    EDGES = 24

cdef Edge[EDGES] ENVELOPE
cdef int edge_count = 0


cdef void lead(int place, bytes label, int to) noexcept:
    global edge_count
    LABELS.append(label)                # keeps the bytes alive
    ENVELOPE[edge_count].place = place
    ENVELOPE[edge_count].label = label
    ENVELOPE[edge_count].size = len(label)
    ENVELOPE[edge_count].to = to
    edge_count += 1


LABELS = []
lead(TTS_TOP, b"end_device_ids", TTS_IDS)
lead(TTS_TOP, b"uplink_message", TTS_MESSAGE)
lead(TTS_TOP, b"received_at", NETWORK_TIME_IF_NONE)
lead(TTS_IDS, b"dev_eui", DEV_EUI)
lead(TTS_IDS, b"device_id", DEVICE_ID)
lead(TTS_MESSAGE, b"f_port", F_PORT)
lead(TTS_MESSAGE, b"f_cnt", F_CNT)
lead(TTS_MESSAGE, b"frm_payload", PAYLOAD)
lead(TTS_MESSAGE, b"decoded_payload", OBJECT)
lead(TTS_MESSAGE, b"rx_metadata", LINKS)
lead(TTS_MESSAGE, b"received_at", NETWORK_TIME)
lead(TTS_MESSAGE, b"app_s_key", ENCRYPTED)
lead(TTS_LINK, b"time", GATEWAY_TIME)
lead(TTS_LINK, b"rssi", RSSI)
lead(TTS_LINK, b"snr", SNR)
lead(CHIRPSTACK_TOP, b"deviceInfo", CHIRPSTACK_INFO)
lead(CHIRPSTACK_TOP, b"time", NETWORK_TIME)
lead(CHIRPSTACK_TOP, b"fPort", F_PORT)
lead(CHIRPSTACK_TOP, b"fCnt", F_CNT)
lead(CHIRPSTACK_TOP, b"data", PAYLOAD)
lead(CHIRPSTACK_TOP, b"object", OBJECT)
lead(CHIRPSTACK_TOP, b"rxInfo", LINKS)
lead(CHIRPSTACK_TOP, b"joinServerContext", ENCRYPTED)
lead(CHIRPSTACK_INFO, b"devEui", DEV_EUI)


cdef int step(int place, const unsigned char* label, size_t size) noexcept nogil:
    cdef int i
    if place == CHIRPSTACK_LINK:        # older versions say time
        if (size == 6 and memcmp(label, b"gwTime", 6) == 0) or (size == 4 and memcmp(label, b"time", 4) == 0):
            return GATEWAY_TIME
        if size == 4 and memcmp(label, b"rssi", 4) == 0:
            return RSSI
        if size == 3 and memcmp(label, b"snr", 3) == 0:
            return SNR
        return NOWHERE
    for i in range(edge_count):
        if ENVELOPE[i].place == place and ENVELOPE[i].size == size and memcmp(ENVELOPE[i].label, label, size) == 0:
            return ENVELOPE[i].to
    return NOWHERE


cdef bint scan_text(Scanner* scan, Readings readings, Text* out) noexcept:
    cdef String string
    if not take(scan, c'"'):
        return fail(scan, b"string expected")
    if not scan_string(scan, readings, &string):
        return False
    out[0] = string.text
    return True


cdef bint scan_time(Scanner* scan, Readings readings, long long* out) noexcept:
    cdef Text text
    if not scan_text(scan, readings, &text):
        return False
    if not read_rfc3339(readings.bytes_of(&text), text.size, out):
        return fail(scan, b"a time that is not RFC 3339")
    return True


cdef bint scan_links(Scanner* scan, Readings readings, int place, Uplink* uplink) noexcept:
    cdef Link link
    if not take(scan, c"["):
        return fail(scan, b"array of receptions expected")
    skip_space(scan)
    if take(scan, c"]"):
        return True
    while True:
        open_link(&link)
        if not scan_object(scan, readings, place, uplink, &link, 2):
            return False
        add_link(uplink, &link)
        skip_space(scan)
        if take(scan, c"]"):
            return True
        if not take(scan, c","):
            return fail(scan, b"comma missing")
        skip_space(scan)


cdef bint scan_field(Scanner* scan, Readings readings, int place, int parent, Uplink* uplink, Link* link,
                     int depth) noexcept:
    """The value of a field of the envelope."""
    cdef double number
    cdef long long ms
    if scan.at == scan.end:
        return fail(scan, b"value missing")
    if scan.at[0] == c"n":              # null: as if it were left out
        return scan_literal(scan, b"null", 4)
    if place < FIRST_LEAF:
        return scan_object(scan, readings, place, uplink, link, depth)
    if place == LINKS:
        return scan_links(scan, readings, TTS_LINK if parent == TTS_MESSAGE else CHIRPSTACK_LINK, uplink)
    if place == DEV_EUI:
        return scan_text(scan, readings, &uplink.name)
    if place == DEVICE_ID:
        return scan_text(scan, readings, &uplink.device_id)
    if place == PAYLOAD:
        return scan_text(scan, readings, &uplink.payload)
    if place == OBJECT:
        uplink.object_at = scan.at
        if not skip_value(scan, readings, depth):
            return False
        uplink.object_end = scan.at
        return True
    if place == ENCRYPTED:
        uplink.is_encrypted = True
        return skip_value(scan, readings, depth)
    if place == F_PORT or place == F_CNT:
        if not scan_number(scan, &number):
            return False
        if place == F_CNT:
            uplink.f_cnt = number
            return True
        if not 0.0 <= number <= 255.0 or number != rint(number):
            return fail(scan, b"the port is not 0 to 255")
        uplink.f_port = <int>number
        return True
    if place == RSSI or place == SNR:
        if scan.at[0] == c'"':          # "NaN": not known
            return skip_value(scan, readings, depth)
        if not scan_number(scan, &number):
            return False
        if place == RSSI:
            link.rssi = number
            link.has_rssi = True
        else:
            link.snr = number
            link.has_snr = True
        return True
    if not scan_time(scan, readings, &ms):
        return False
    if place == GATEWAY_TIME:
        link.gateway_ms = ms
        link.has_time = True
    elif place == NETWORK_TIME or not uplink.has_network_time:
        uplink.network_ms = ms
        uplink.has_network_time = True
    return True


cdef bint scan_object(Scanner* scan, Readings readings, int place, Uplink* uplink, Link* link, int depth) noexcept:
    """An object of the envelope, at most four deep."""
    cdef String label
    cdef int to
    cdef size_t arena_size
    if not take(scan, c"{"):
        return fail(scan, b"object expected")
    skip_space(scan)
    if take(scan, c"}"):
        return True
    while True:
        if not take(scan, c'"'):
            return fail(scan, b"label missing")
        arena_size = readings.arena_size
        if not scan_string(scan, readings, &label):
            return False
        to = step(place, readings.bytes_of(&label.text), label.text.size)
        readings.arena_size = arena_size
        skip_space(scan)
        if not take(scan, c":"):
            return fail(scan, b"colon missing")
        skip_space(scan)
        if to == NOWHERE:
            if not skip_value(scan, readings, depth + 1):
                return False
        elif not scan_field(scan, readings, to, place, uplink, link, depth + 1):
            return False
        skip_space(scan)
        if take(scan, c"}"):
            return True
        if not take(scan, c","):
            return fail(scan, b"comma missing")
        skip_space(scan)


cdef bint map_object(Uplink* uplink, FrameChunk chunk, Readings readings, TypeDecoder decoder, long long time_ms,
                     unsigned int device, Fault* fault) noexcept:
    cdef Scanner scan
    scan.chunk = chunk.data
    scan.start = uplink.object_at
    scan.at = uplink.object_at
    scan.end = uplink.object_end
    scan.detail = b""
    if map_json(&scan, readings, decoder, time_ms, device, True):
        return True
    return blame(fault, REASON_MALFORMED_PAYLOAD, scan.detail, scan.at - scan.start)


cdef Outcome decode_uplink_json(FrameChunk chunk, Frame* frame, bint is_chirpstack, DeviceIndex index,
                                Readings readings, Fault* fault) noexcept:
    cdef Scanner scan
    cdef Uplink uplink
    open_uplink(&uplink)
    uplink.is_base64 = True
    scan.chunk = chunk.data
    scan.start = chunk.data + frame.payload_at
    scan.at = scan.start
    scan.end = scan.start + frame.payload_size
    scan.detail = b""
    skip_space(&scan)
    if not scan_object(&scan, readings, CHIRPSTACK_TOP if is_chirpstack else TTS_TOP, &uplink, NULL, 0):
        blame(fault, REASON_MALFORMED_PAYLOAD, scan.detail, scan.at - scan.start)
        return REFUSED
    skip_space(&scan)
    if scan.at != scan.end:
        blame(fault, REASON_MALFORMED_PAYLOAD, b"text after the end", scan.at - scan.start)
        return REFUSED
    return finish_uplink(&uplink, chunk, frame, index, readings, map_object, fault)
