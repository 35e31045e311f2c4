# cython: language_level=3
"""SUBSCRIBE and UNSUBSCRIBE."""

from libc.string cimport memcmp

from ext.mqtt cimport reply
from ext.mqtt.outbox cimport RetainedBatch
from ext.mqtt.packet cimport SUBSCRIBE, UNSUBSCRIBE, FilterRequest, read_filter, read_subscribe
from ext.mqtt.properties cimport P_SUBSCRIPTION_IDENTIFIER, Properties, has
from ext.mqtt.reason cimport (
    RC_NOT_AUTHORIZED, RC_NO_SUBSCRIPTION_EXISTED, RC_PROTOCOL_ERROR, RC_SUCCESS, RC_TOPIC_FILTER_INVALID,
)
from ext.mqtt.subscriptions cimport split_shared
from ext.wire.cursor cimport Cursor, Span


cdef class Subscriber(Publisher):
    """A connection that subscribes."""

    cdef ReasonCode on_subscribe(self, Header* header, const unsigned char* body) except *:
        cdef Cursor c
        cdef Properties properties
        cdef FilterRequest request
        cdef RetainedBatch batch
        cdef unsigned short packet_id = 0
        cdef unsigned int identifier
        cdef ReasonCode code
        cdef const unsigned char* first
        cdef bytearray reasons = bytearray()
        cdef list batches = []
        cdef bytes why = b""
        c.at = body
        c.end = body + header.size
        code = read_subscribe(&c, header.type, self.version, &packet_id, &properties)
        if code != RC_SUCCESS:
            return code
        identifier = properties.numbers[P_SUBSCRIPTION_IDENTIFIER] if has(&properties, P_SUBSCRIPTION_IDENTIFIER) else 0
        first = c.at
        while c.at < c.end:                 # all are checked before the first takes effect
            code = read_filter(&c, header.type, self.version, &request)
            if code != RC_SUCCESS:
                return code
            if request.is_no_local and is_shared(&request.filter):      # [MQTT-3.8.3-4]
                return RC_PROTOCOL_ERROR
        c.at = first
        while c.at < c.end:
            read_filter(&c, header.type, self.version, &request)
            if header.type == SUBSCRIBE:
                reasons.append(self.subscribe(&request, identifier, batches))
            else:
                reasons.append(
                    0 if self.hub.router.unsubscribe(self.session, request.filter.at[:request.filter.size])
                    else RC_NO_SUBSCRIPTION_EXISTED
                )
        if header.type == UNSUBSCRIBE:
            self.say(reply.unsuback(self.version, packet_id, bytes(reasons)))
            return RC_SUCCESS
        if self.wants_reasons and RC_NOT_AUTHORIZED in reasons:
            why = b"a filter reaches beyond what this user may see"
        self.say(reply.suback(self.version, packet_id, bytes(reasons), why, self.max_packet_bytes))
        for batch in batches:
            self.session.box().owe(batch)
        if batches:
            self.session.box().pump(self)
        return RC_SUCCESS

    cdef int subscribe(self, FilterRequest* request, unsigned int identifier, list batches) except -1:
        """Returns the reason code of the SUBACK."""
        cdef bytes filter = request.filter.at[:request.filter.size]
        cdef int child = -1
        cdef tuple parts = split_shared(filter)
        if parts is None:
            return RC_TOPIC_FILTER_INVALID
        if not self.may_see(parts[0], &child):
            self.hub.report("subscription_refused", self.user_name, filter)
            return RC_NOT_AUTHORIZED
        return self.hub.router.subscribe(self.need_session(), filter, request, identifier, child, batches)


cdef inline bint is_shared(Span* filter) noexcept:
    return filter.size > 7 and memcmp(filter.at, b"$share/", 7) == 0
