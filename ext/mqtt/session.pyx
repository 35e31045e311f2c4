# cython: language_level=3
"""A client's state that may outlive its connection. Who has nothing to keep has no session object at all."""

from ext.mqtt.message cimport NEVER, Message
from ext.mqtt.outbox cimport new_delivery, send_once
from ext.mqtt.packet_ids cimport clear_ids


cdef class Session:
    def __cinit__(self, bytes key not None, object owner, int device, Traffic traffic not None):
        self.key = key
        self.owner = owner
        self.device = device
        self.traffic = traffic
        self.ends_ms = self.will_ms = self.timer_ms = NEVER

    def __dealloc__(self):
        clear_ids(&self.inbound)
        clear_ids(&self.unsure)

    cdef Outbox box(self):
        if self.outbox is None:
            self.outbox = Outbox(self.traffic)
        return self.outbox

    cdef bint takes(self) noexcept:
        """Whether a message would go out at once."""
        if self.link is None or self.link.is_blocked():
            return False
        return self.outbox is None or self.outbox.outstanding < self.link.window

    cdef int give(self, Message message, int qos, bint is_retained, tuple identifiers, object group) except -1:
        """One message for this client. Returns 1 if it was sent or is kept for it."""
        if qos == 0:
            if self.link is None:
                return 0
            return send_once(self.traffic, self.link, message, is_retained, identifiers)
        return self.box().give(self.link, new_delivery(message, qos, is_retained, identifiers, group))


cdef class Will:
    """A message to be sent when the client goes without saying good-bye."""
