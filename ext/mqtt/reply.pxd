# MQTT control packets as we send them, but PUBLISH. None of these is per telemetry message, so they are Python bytes.

cdef bytes connack(unsigned char version, unsigned char reason, bint session_present, bytes properties)
cdef bytes disconnect(unsigned char reason, unsigned int max_packet_bytes)
# PUBACK, PUBREC, PUBREL or PUBCOMP. 3.1.1 has no reasons.
cdef bytes ack(unsigned char version, unsigned char type, unsigned short packet_id, unsigned char reason)
# `why` is a reason string, which is left out if the packet would become too large.
cdef bytes suback(unsigned char version, unsigned short packet_id, bytes reasons, bytes why,
                  unsigned int max_packet_bytes)
cdef bytes unsuback(unsigned char version, unsigned short packet_id, bytes reasons)
cdef bytes number_property(int id, int size, unsigned int value)
cdef bytes string_property(int id, bytes text)
cdef bytes reason_text(unsigned char reason)
