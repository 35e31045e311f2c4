# cython: language_level=3
"""PUBLISH: to a frame of the hub's chunk, or to subscribers, or refused. No Python object is made for a frame."""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from ext.mqtt.hub cimport ACK_QOS_2, TRAFFIC_GATEWAYS, Hub
from ext.mqtt.identity cimport NOBODY
from ext.mqtt.message cimport NEVER, Message, expiry_of, new_message
from ext.mqtt.packet cimport PUBLISH, VERSION_5, check_topic_name, read_publish
from ext.mqtt.packet_ids cimport add_id, holds_id
from ext.mqtt.properties cimport forwarded
from ext.mqtt.reason cimport (
    RC_IMPLEMENTATION_ERROR, RC_NOT_AUTHORIZED, RC_NO_MATCHING_SUBSCRIBERS, RC_PAYLOAD_FORMAT_INVALID,
    RC_PROTOCOL_ERROR, RC_QUOTA_EXCEEDED, RC_RECEIVE_MAXIMUM_EXCEEDED, RC_SUCCESS, RC_TOPIC_ALIAS_INVALID,
)
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session
from ext.telemetry.frames cimport ENCODING_DEFAULT, ENCODING_UNKNOWN, REASON_NONE, SCOPE_DEVICE, Frame
from ext.telemetry.quota cimport charge
from ext.telemetry.topic cimport encoding_of_content_type
from ext.wire.utf8 cimport is_utf8


cdef class Publisher(Known):
    """A connection that publishes."""

    def __dealloc__(self):
        if self.aliases != NULL:
            for i in range(TOPIC_ALIAS_MAXIMUM + 1):
                free(<void*>self.aliases[i].at)
            free(self.aliases)

    cdef int on_publish(self, Header* header, const unsigned char* body) except -1:
        cdef Hub hub = self.hub
        cdef Publish publish
        cdef Frame* frame
        cdef unsigned char scope = SCOPE_DEVICE, encoding = ENCODING_DEFAULT, reason = REASON_NONE
        cdef int sender
        cdef double over_s
        cdef ReasonCode code = read_publish(body, header.size, header.flags, self.version, &publish)
        if code == RC_SUCCESS and publish.topic_alias:
            code = self.resolve_alias(&publish)
        if code != RC_SUCCESS:
            return self.fail(code, PUBLISH)
        if publish.qos == 2 and self.session is not None and holds_id(&self.session.inbound, publish.packet_id):
            return hub.answer_in_order(self, publish.packet_id, 2, RC_SUCCESS, True)    # [MQTT-4.3.3-10]
        if publish.qos and self.version == VERSION_5 and self.unacked >= hub.receive_maximum:
            return self.fail(RC_RECEIVE_MAXIMUM_EXCEEDED, PUBLISH)
        if self.operator is not None:
            return self.publish_plain(&publish)
        if hub.quota.is_on:
            # A 3.1.1 client cannot be told: its message is taken, and it is not read until that is paid for.
            over_s = charge(hub.quota, self.device, self.traffic == TRAFFIC_GATEWAYS, header.size, hub.read_s,
                            self.version != VERSION_5)
            if over_s > 0:
                hub.rest(self, 0.0 if self.version == VERSION_5 else over_s)
                if self.version == VERSION_5:
                    return self.refuse_publish(&publish, RC_QUOTA_EXCEEDED)
        sender = self.whose(&publish, &scope, &encoding, &reason)
        if sender == NOBODY:
            code = check_topic_name(publish.topic.at, publish.topic.size)
            if code != RC_SUCCESS:
                return self.fail(code, PUBLISH)
            return self.refuse_publish(&publish, RC_NOT_AUTHORIZED)
        if reason != REASON_NONE or encoding == ENCODING_UNKNOWN or publish.topic.at[0] != b"c":
            # A topic that is ours letter by letter is valid; here the sender chose some of them.
            code = check_topic_name(publish.topic.at, publish.topic.size)
            if code != RC_SUCCESS:
                return self.fail(code, PUBLISH)
        if publish.is_utf8 and not is_utf8(publish.payload.at, publish.payload.size):
            return self.refuse_publish(&publish, RC_PAYLOAD_FORMAT_INVALID)
        if encoding == ENCODING_DEFAULT and publish.content_type.size and reason == REASON_NONE:
            encoding = encoding_of_content_type(publish.content_type.at, publish.content_type.size)
        frame = hub.chunk.append(publish.topic.at, publish.topic.size, publish.payload.at, publish.payload.size)
        if frame == NULL:
            return self.fail(RC_IMPLEMENTATION_ERROR, PUBLISH)
        frame.received_ms = hub.clock_ms()
        frame.sender = sender
        frame.scope = scope
        frame.encoding = encoding
        frame.reason = reason
        if publish.qos:
            frame.ack_ref = self.ack_base | publish.packet_id
            self.unacked += 1
            if publish.qos == 2:
                frame.ack_ref |= ACK_QOS_2
                if not (add_id(&self.need_session().inbound, publish.packet_id)
                        and add_unsure(self.session, publish.packet_id)):
                    raise MemoryError
        hub.messages[publish.qos] += 1
        if publish.is_retained or hub.router.subscriptions.telemetry_watchers or reason != REASON_NONE \
                or publish.topic.at[0] != b"c":
            self.fan_out(&publish)
        return 0

    cdef int fan_out(self, Publish* publish) except -1:
        """A message of the pipeline also goes to whoever subscribed to it."""
        cdef Router router = self.hub.router
        cdef bytes topic
        if router.subscriptions.count == 0 and not publish.is_retained:
            return 0
        topic = publish.topic.at[: publish.topic.size]
        if router.subscriptions.match(topic) is None and not publish.is_retained:
            return 0
        return router.publish(self.message_of(publish, topic), self.session, self.owner)

    cdef int publish_plain(self, Publish* publish) except -1:
        """An operator's message: to subscribers only, so nothing has to become durable before its acknowledgement."""
        cdef bytes topic
        cdef int given
        cdef ReasonCode code = check_topic_name(publish.topic.at, publish.topic.size)
        if code != RC_SUCCESS:
            return self.fail(code, PUBLISH)
        topic = publish.topic.at[: publish.topic.size]
        if not self.may_publish(topic):
            return self.refuse_publish(publish, RC_NOT_AUTHORIZED)
        if publish.is_utf8 and not is_utf8(publish.payload.at, publish.payload.size):
            return self.refuse_publish(publish, RC_PAYLOAD_FORMAT_INVALID)
        if publish.qos == 2 and not add_id(&self.need_session().inbound, publish.packet_id):
            raise MemoryError
        self.hub.plain_messages += 1
        given = self.hub.router.publish(self.message_of(publish, topic), self.session, None)
        return self.hub.answer_in_order(
            self, publish.packet_id, publish.qos,
            RC_SUCCESS if given or self.version != VERSION_5 else RC_NO_MATCHING_SUBSCRIBERS, False,
        )

    cdef Message message_of(self, Publish* publish, bytes topic):
        return new_message(
            topic, publish.payload.at[: publish.payload.size] if publish.payload.size else b"",
            forwarded(&publish.properties), publish.qos, publish.is_retained,
            expiry_of(publish.expiry_s) if publish.has_expiry else NEVER,
        )

    cdef int refuse_publish(self, Publish* publish, ReasonCode code) except -1:
        """Not taken. MQTT 5 has a PUBACK or PUBREC for that; a 3.1.1 client can only be cut off."""
        self.hub.rejected[<int>code] += 1
        if self.hub.log_budget > 0:
            self.hub.report(
                "not_authorized" if code == RC_NOT_AUTHORIZED else
                "quota" if code == RC_QUOTA_EXCEEDED else "payload_format_invalid",
                self.user_name, publish.topic.at[:publish.topic.size],
            )
        if self.version != VERSION_5:
            return self.leave(code)
        return self.hub.answer_in_order(self, publish.packet_id, publish.qos, <unsigned char>code, False)

    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept:
        """Section 3.3.2.3.4: a topic with an alias defines it, an alias alone stands for its topic."""
        cdef Span* alias
        cdef unsigned char* copy
        if publish.topic_alias > TOPIC_ALIAS_MAXIMUM:
            return RC_TOPIC_ALIAS_INVALID
        if self.aliases == NULL:
            self.aliases = <Span*>malloc((TOPIC_ALIAS_MAXIMUM + 1) * sizeof(Span))
            if self.aliases == NULL:
                return RC_IMPLEMENTATION_ERROR
            memset(self.aliases, 0, (TOPIC_ALIAS_MAXIMUM + 1) * sizeof(Span))
        alias = &self.aliases[publish.topic_alias]
        if publish.topic.size == 0:
            publish.topic = alias[0]
            return RC_SUCCESS if alias.size else RC_PROTOCOL_ERROR
        copy = <unsigned char*>realloc(<void*>alias.at, publish.topic.size)
        if copy == NULL:
            return RC_IMPLEMENTATION_ERROR
        memcpy(copy, publish.topic.at, publish.topic.size)
        alias.at = copy
        alias.size = publish.topic.size
        return RC_SUCCESS


cdef inline bint add_unsure(Session session, unsigned short packet_id) noexcept:
    """May be there from a connection that was lost before its PUBREC."""
    return holds_id(&session.unsure, packet_id) or add_id(&session.unsure, packet_id)
