# One application message on its way to subscribers, and its PUBLISH packets.

cdef enum:
    DUP = 8                         # flags of a PUBLISH
    RETAIN = 1
    MESSAGE_OVERHEAD_BYTES = 256    # what keeping a message costs beside its bytes

cdef long long NEVER

cdef class Message:
    cdef readonly bytes topic, payload
    cdef readonly bytes properties      # encoded, as they go on: properties.forwarded()
    cdef readonly unsigned char qos
    cdef readonly bint is_retained      # RETAIN, as published
    cdef bint is_stored                 # it is what is retained on its topic
    cdef object stored_by               # the device it counts for there; None: nobody
    cdef readonly long long expires_ms  # of monotonic_ms(); NEVER
    cdef bytes plain_4, plain_5         # the packet at QoS 0 with nothing of one subscriber in it, made once
    cdef size_t size_bytes(self) noexcept
    cdef bint is_expired(self) noexcept

cdef Message new_message(bytes topic, bytes payload, bytes properties, int qos, bint is_retained, long long expires_ms)
# A PUBLISH. `flags`: DUP, RETAIN. `alias` 0: none; without `names_topic` the alias stands for the topic.
# `identifiers`: of the matching subscriptions, or None.
cdef bytes encode_publish(Message message, unsigned char version, int qos, int flags, unsigned short packet_id,
                          unsigned short alias, bint names_topic, tuple identifiers)
cdef long long monotonic_ms() noexcept nogil
# When a message that may live so long ends.
cdef long long expiry_of(unsigned int expiry_s) noexcept nogil
