# MQTT control packets as a client sends them. None of these is per message, so they are Python bytes.

# `will` is (topic, payload, QoS, retain) or None. `properties` are of MQTT 5.
cdef bytes connect(int version, bytes client_id, bytes username, bytes password, bint is_clean, int keep_alive_s,
                   bytes properties, tuple will)
# `filters` are (filter, options) of SUBSCRIBE.
cdef bytes subscribe(int version, unsigned short packet_id, list filters)
cdef bytes unsubscribe(int version, unsigned short packet_id, list filters)
cdef bytes publish(int version, bytes topic, bytes payload, int qos, bint is_retained, bint is_dup,
                   unsigned short packet_id)
cdef bytes disconnect(int version, int reason)
cdef bytes number_property(int id, int size, unsigned int value)
