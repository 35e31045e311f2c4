# Uplinks of LoRaWAN network servers: what both families have in common once their envelope has been read.

from ext.telemetry.frames cimport Frame, FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.readings cimport Readings, Text
from ext.telemetry.type_decoder cimport Fault, TypeDecoder

cdef enum Outcome:
    REFUSED = 0                 # nothing was added
    DECODED = 1
    DECODED_PARTLY = 2          # what was added stays, the rest is refused

cdef enum:
    MAX_UPLINK_BYTES = 512      # a LoRaWAN frame carries at most 242

cdef struct Link:               # one gateway's reception
    long long gateway_ms
    double rssi
    double snr
    unsigned char has_time, has_rssi, has_snr

cdef struct Uplink:
    Text name                   # DevEUI, else the network server's own name; size 0: none was found
    Text device_id              # The Things Stack: its own name, for devices without a DevEUI
    Text payload                # base64 or bytes, see is_base64
    const unsigned char* object_at      # what the network server has decoded: JSON, or a Struct's bytes; NULL: nothing
    const unsigned char* object_end
    long long network_ms
    double f_cnt
    Link best
    long long gateway_ms        # the earliest
    int f_port
    unsigned char is_base64
    unsigned char is_encrypted  # the application's session key is the join server's secret
    unsigned char has_network_time, has_gateway_time, has_link

cdef void open_uplink(Uplink* uplink) noexcept nogil
cdef void open_link(Link* link) noexcept nogil
# Keeps the best reception and the earliest time.
cdef void add_link(Uplink* uplink, Link* link) noexcept nogil

# Adds the readings of an uplink to the open span: those of the radio link, then those of the payload.
#   map_object(uplink, ...): adds what the network server has decoded, the way its family writes it.
ctypedef bint (*MapObject)(Uplink* uplink, FrameChunk chunk, Readings readings, TypeDecoder decoder, long long time_ms,
                           unsigned int device, Fault* fault) noexcept

cdef Outcome finish_uplink(Uplink* uplink, FrameChunk chunk, Frame* frame, DeviceIndex index, Readings readings,
                           MapObject map_object, Fault* fault) noexcept
