# Retained messages: one for each topic, bounded.

from ext.mqtt.message cimport Message

cdef class RetainedNode:
    cdef dict children                  # level -> RetainedNode
    cdef Message message                # retained on the topic that ends here, or None

cdef class Retained:
    cdef RetainedNode root
    cdef readonly size_t count, bytes
    cdef size_t max_count, max_bytes, max_of_owner
    cdef dict owners                    # who -> how many
    cdef readonly unsigned long long refused
    cdef bint put(self, Message message, object owner) except -1
    cdef int count_owner(self, object owner, int change) except -1
    cdef int take_out(self, bytes topic) except -1
    cdef list match(self, bytes filter)
