# MQTT control packets as we send them. None of these is per message, so they are Python bytes.

cdef bytes connack(unsigned char version, unsigned char reason, bytes properties)
cdef bytes disconnect(unsigned char reason, unsigned int max_packet_bytes)
cdef bytes suback(unsigned char version, unsigned short packet_id, bytes reasons)
cdef bytes unsuback(unsigned char version, unsigned short packet_id, bytes reasons)
cdef bytes publish(unsigned char version, bytes topic, bytes payload, int qos, unsigned short packet_id)
cdef bytes number_property(int id, int size, unsigned int value)
cdef bytes string_property(int id, bytes text)
cdef bytes reason_text(unsigned char reason)
