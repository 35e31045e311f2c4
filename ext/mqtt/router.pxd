# Sessions, and what goes to whom: subscriptions, retained messages, wills, and the times they wait for.

from ext.mqtt.message cimport Message
from ext.mqtt.outbox cimport Delivery, Link, Traffic
from ext.mqtt.packet cimport FilterRequest
from ext.mqtt.retained cimport Retained
from ext.mqtt.session cimport Session, Will
from ext.mqtt.subscriptions cimport Match, Matches, Subscription, Subscriptions
from ext.telemetry.index cimport DeviceIndex

cdef class Router:
    cdef readonly Subscriptions subscriptions
    cdef readonly Retained retained
    cdef readonly Traffic traffic
    cdef DeviceIndex index
    cdef dict sessions                  # key -> Session
    cdef list timers                    # heap of (monotonic ms, number, Session)
    cdef unsigned long long timer_count
    cdef size_t max_sessions, max_subscriptions
    cdef unsigned int max_expiry_s
    cdef object on_will                 # called with (Session, Will) when a will is due
    # Other processes: see Hub.announce
    cdef object on_remote, on_filters
    cdef dict announced                 # filter as others are told -> how many subscriptions it stands for; or None
    cdef dict remote                    # filter of other processes -> its Subscription
    cdef bint is_closing
    cdef readonly unsigned long long sessions_expired, sessions_refused, sessions_resumed

    cdef Session open(self, bytes key, object owner, int device, unsigned int expiry_s)
    cdef int end(self, Session session) except -1
    cdef int part(self, Session session) except -1
    cdef int rejoin(self, Session session, Link link) except -1
    cdef int pass_on(self, Delivery delivery) except -1
    cdef int fire(self, Session session) except -1
    cdef int schedule(self, Session session) except -1
    cdef int tick(self) except -1
    cdef int subscribe(self, Session session, bytes filter, FilterRequest* request, unsigned int identifier,
                       int child, list batches) except -1
    cdef bint unsubscribe(self, Session session, bytes filter) except -1
    cdef int attach(self, Subscription subscription) except -1
    cdef int detach(self, Subscription subscription) except -1
    cdef int release(self, Session session) except -1
    cdef int publish(self, Message message, Session publisher, object owner) except -1
    cdef int publish_here(self, Message message, list groups, object is_wanted) except -1
    cdef int spread(self, Message message, Matches matches, Session publisher) except -1
    cdef int give(self, Match match, Message message, Session publisher) except -1
    cdef bint holds(self, Subscription subscription) noexcept
