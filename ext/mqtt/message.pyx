# cython: language_level=3
"""One application message on its way to subscribers, and its PUBLISH packets."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from ext.mqtt.packet cimport PUBLISH, VERSION_5
from ext.mqtt.properties cimport P_MESSAGE_EXPIRY, P_SUBSCRIPTION_IDENTIFIER, P_TOPIC_ALIAS
from ext.wire.varint cimport varint_size, write_varint

NEVER = 0x7FFFFFFFFFFFFFFF


cdef long long monotonic_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000


cdef long long expiry_of(unsigned int expiry_s) noexcept nogil:
    return monotonic_ms() + <long long>expiry_s * 1000


cdef class Message:
    """Immutable, and shared by all who wait for it."""

    cdef size_t size_bytes(self) noexcept:
        return <size_t>(
            len(self.topic) + len(self.payload) + len(self.properties)
        ) + MESSAGE_OVERHEAD_BYTES

    cdef bint is_expired(self) noexcept:
        return self.expires_ms != NEVER and monotonic_ms() >= self.expires_ms


cdef Message new_message(bytes topic, bytes payload, bytes properties, int qos, bint is_retained,
                         long long expires_ms):
    cdef Message message = Message.__new__(Message)
    message.topic = topic
    message.payload = payload
    message.properties = properties
    message.qos = <unsigned char>qos
    message.is_retained = is_retained
    message.expires_ms = expires_ms
    return message


cdef inline unsigned char* put(unsigned char* at, bytes data) noexcept:
    memcpy(at, PyBytes_AS_STRING(data), <size_t>len(data))
    return at + len(data)


cdef inline unsigned char* put_u16(unsigned char* at, unsigned int value) noexcept nogil:
    at[0] = <unsigned char>(value >> 8)
    at[1] = <unsigned char>value
    return at + 2


cdef bytes encode_publish(Message message, unsigned char version, int qos, int flags, unsigned short packet_id,
                          unsigned short alias, bint names_topic, tuple identifiers):
    cdef bint is_plain = (
        qos == 0 and flags == 0 and alias == 0 and identifiers is None and message.expires_ms == NEVER
    )
    cdef bytes packet
    cdef unsigned char* at
    cdef unsigned int properties = 0, size, identifier
    cdef long long left_ms
    if is_plain:
        packet = message.plain_5 if version == VERSION_5 else message.plain_4
        if packet is not None:
            return packet
    size = <unsigned int>(2 + (len(message.topic) if names_topic else 0) + (2 if qos else 0) + len(message.payload))
    if version == VERSION_5:
        properties = <unsigned int>len(message.properties)
        if message.expires_ms != NEVER:
            properties += 5
        if alias:
            properties += 3
        if identifiers is not None:
            for identifier in identifiers:
                properties += <unsigned int>(1 + varint_size(identifier))
        size += <unsigned int>varint_size(properties) + properties
    packet = PyBytes_FromStringAndSize(NULL, 1 + <Py_ssize_t>varint_size(size) + size)
    at = <unsigned char*>PyBytes_AS_STRING(packet)
    at[0] = <unsigned char>(PUBLISH << 4 | qos << 1 | flags)
    at = write_varint(at + 1, size)
    at = put_u16(at, <unsigned int>len(message.topic) if names_topic else 0)
    if names_topic:
        at = put(at, message.topic)
    if qos:
        at = put_u16(at, packet_id)
    if version == VERSION_5:
        at = write_varint(at, properties)
        if message.expires_ms != NEVER:                 # what is left of it: [MQTT-3.3.2-6]
            left_ms = max(message.expires_ms - monotonic_ms(), <long long>0)
            size = <unsigned int>((left_ms + 999) // 1000)
            at[0] = P_MESSAGE_EXPIRY
            at = put_u16(put_u16(at + 1, size >> 16), size & 0xFFFF)
        if alias:
            at[0] = P_TOPIC_ALIAS
            at = put_u16(at + 1, alias)
        if identifiers is not None:
            for identifier in identifiers:
                at[0] = P_SUBSCRIPTION_IDENTIFIER
                at = write_varint(at + 1, identifier)
        at = put(at, message.properties)
    put(at, message.payload)
    if is_plain:
        if version == VERSION_5:
            message.plain_5 = packet
        else:
            message.plain_4 = packet
    return packet
