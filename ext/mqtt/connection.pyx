# cython: language_level=3
"""One MQTT client: an asyncio.BufferedProtocol for uvloop that puts PUBLISH packets into the hub's chunk.

No Python object is made for a PUBLISH. All connections of a hub share one read buffer: uvloop calls get_buffer,
read(2) and buffer_updated back to back, so it holds one connection's bytes at a time.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from secrets import token_hex

from ext.mqtt cimport reply
from ext.mqtt.access cimport covers, device_may_see, family_of, is_of_family
from ext.mqtt.hub cimport (
    ACK_QOS_2, STATE_AWAIT_CONNECT, STATE_LEAVING, STATE_OPEN, TICK_MS, TRAFFIC_GATEWAYS, Hub,
)
from ext.mqtt.message cimport NEVER, Message, expiry_of, new_message
from ext.mqtt.outbox cimport RetainedBatch
from ext.mqtt.packet cimport (
    CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, VERSION_3_1_1,
    VERSION_5, Ack, Connect, FilterRequest, check_flags, check_topic_name, read_ack, read_connect, read_disconnect,
    read_filter, read_header, read_publish, read_subscribe,
)
from ext.mqtt.packet_ids cimport add_id, holds_id, remove_id
from ext.mqtt.properties cimport (
    P_ASSIGNED_CLIENT_ID, P_AUTHENTICATION_METHOD, P_MAXIMUM_PACKET_SIZE, P_MESSAGE_EXPIRY, P_PAYLOAD_FORMAT,
    P_REASON_STRING, P_RECEIVE_MAXIMUM, P_REQUEST_PROBLEM_INFORMATION, P_SERVER_KEEP_ALIVE, P_SESSION_EXPIRY,
    P_SUBSCRIPTION_IDENTIFIER, P_TOPIC_ALIAS_MAXIMUM, P_WILL_DELAY, Properties, forwarded, has,
)
from ext.mqtt.reason cimport (
    RC_BAD_AUTHENTICATION_METHOD, RC_BAD_USER_NAME_OR_PASSWORD, RC_CLIENT_ID_NOT_VALID,
    RC_IMPLEMENTATION_ERROR, RC_MALFORMED_PACKET, RC_NO_MATCHING_SUBSCRIBERS, RC_NO_SUBSCRIPTION_EXISTED,
    RC_NOT_AUTHORIZED, RC_PACKET_ID_NOT_FOUND, RC_PACKET_TOO_LARGE, RC_PAYLOAD_FORMAT_INVALID, RC_PROTOCOL_ERROR,
    RC_QUOTA_EXCEEDED, RC_RECEIVE_MAXIMUM_EXCEEDED, RC_SERVER_BUSY, RC_SERVER_UNAVAILABLE, RC_SUCCESS,
    RC_TOPIC_ALIAS_INVALID, RC_TOPIC_FILTER_INVALID, RC_UNSUPPORTED_VERSION,
)
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session, Will
from ext.mqtt.subscriptions cimport Subscription, split_shared
from ext.telemetry.device_states cimport mark_seen
from ext.telemetry.frames cimport (
    ENCODING_DEFAULT, ENCODING_UNKNOWN, REASON_NONE, REASON_UNSUPPORTED_TOPIC, SCOPE_DEVICE, SCOPE_GATEWAY, Frame,
)
from ext.telemetry.index cimport DEVICE_GATEWAY, Device
from ext.telemetry.quota cimport charge, monotonic_s
from ext.telemetry.topic cimport (
    TOPIC_FOREIGN, TOPIC_TELEMETRY, Topic, encoding_of_content_type, foreign_encoding, parse_below_id, parse_topic,
)
from ext.wire.cursor cimport STEP_MALFORMED, STEP_NEED_MORE, STEP_OK, Step
from ext.wire.utf8 cimport is_utf8
from ext.wire.varint cimport varint_size

cdef enum:
    NOBODY = -1
    ALIVE_BYTES = 1_000         # so much of a large packet counts as a sign of life on a slow link
    NO_EXPIRY = 0xFFFFFFFF


cdef class Connection(Peer):
    """The protocol of one socket; uvloop calls its methods."""

    def __cinit__(self, Hub hub not None):
        self.hub = hub

    def __dealloc__(self):
        free(self.rest)
        if self.aliases != NULL:
            for i in range(TOPIC_ALIAS_MAXIMUM + 1):
                free(<void*>self.aliases[i].at)
            free(self.aliases)

    # What the transport calls

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.hub.attach(self)

    def connection_lost(self, exc) -> None:
        if self.state == STATE_AWAIT_CONNECT:
            self.hub.count_connect("lost")
        self.forget()
        self.hub.detach(self)
        self.transport = None

    def get_buffer(self, size_hint):
        return self.hub.read_view

    def buffer_updated(self, Py_ssize_t size) -> None:
        cdef Hub hub = self.hub
        hub.bytes_received += <unsigned long long>size
        if self.state >= STATE_LEAVING or hub.is_stopped:
            return
        hub.received_ms = 0
        if hub.quota.is_on:
            hub.read_s = monotonic_s()
        self.consume(hub.read_at, <size_t>size)
        if self.state >= STATE_LEAVING:
            self.forget()
        else:
            if self.is_held():              # over its quota, or connected while the others were paused
                self.transport.pause_reading()
            if hub.partial_bytes > hub.max_partial_bytes:
                hub.relieve()
        hub.gathered()

    def eof_received(self):
        return None                         # the transport closes

    def pause_writing(self) -> None:
        """The client does not read our answers: it may send no more until it does, and has 10 s for that."""
        self.hub.slots[self.slot].blocked_tick = self.hub.now_tick
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.hub.slots[self.slot].blocked_tick = 0
        if not self.is_held() or self.state >= STATE_LEAVING:
            self.transport.resume_reading()
        if self.session is not None and self.session.outbox is not None:
            self.session.outbox.pump(self)

    # Bytes to packets

    cdef int consume(self, const unsigned char* at, size_t size) except -1:
        cdef Cursor c
        cdef Header header
        cdef Step step
        cdef ReasonCode code
        cdef const unsigned char* start
        c.at = at
        c.end = at + size
        if self.rest_size:
            c.at = self.complete(c.at, c.end)
        while c.at < c.end and self.state < STATE_LEAVING:
            if self.held is not None:
                return self.hold(c.at, <size_t>(c.end - c.at))
            start = c.at
            step = read_header(&c, &header)
            if step == STEP_MALFORMED:
                return self.fail(RC_MALFORMED_PACKET, start[0] >> 4)
            if step == STEP_OK:
                code = self.admit(&header, &c)
                if code != RC_SUCCESS:
                    return self.fail(code, header.type)
            if step == STEP_NEED_MORE or <size_t>(c.end - c.at) < header.size:
                return self.stash(start, <size_t>(c.end - start))
            self.hub.slots[self.slot].seen_tick = self.hub.now_tick
            self.take(&header, c.at)
            c.at += header.size
        return 0

    cdef const unsigned char* complete(self, const unsigned char* at, const unsigned char* end) except NULL:
        """Finish the packet that an earlier read began: only its missing bytes are copied. Returns what is left."""
        cdef Cursor c
        cdef Header header
        cdef Step step
        cdef ReasonCode code
        cdef size_t missing
        while True:
            c.at = self.rest
            c.end = self.rest + self.rest_size
            step = read_header(&c, &header)
            if step == STEP_MALFORMED:
                self.fail(RC_MALFORMED_PACKET, self.rest[0] >> 4)
                return end
            if step == STEP_NEED_MORE:
                if at == end:
                    return end
                self.stash(at, 1)
                at += 1
                continue
            code = self.admit(&header, &c)
            if code != RC_SUCCESS:
                self.fail(code, header.type)
                return end
            missing = header.size - <size_t>(c.end - c.at)
            if missing > <size_t>(end - at):
                if end - at >= ALIVE_BYTES and self.state == STATE_OPEN:
                    self.hub.slots[self.slot].seen_tick = self.hub.now_tick
                self.stash(at, <size_t>(end - at))
                return end
            self.stash(at, missing)
            self.hub.slots[self.slot].seen_tick = self.hub.now_tick
            self.take(&header, self.rest + (self.rest_size - header.size))
            self.rest_size = 0
            self.hub.slots[self.slot].rest_tick = 0
            if self.rest_capacity > 64:
                free(self.rest)
                self.keep(NULL, 0)
            return at + missing

    cdef int hold(self, const unsigned char* at, size_t size) except -1:
        """What comes behind a CONNECT that waits for the other workers."""
        self.held += at[:size]
        self.transport.pause_reading()
        return 0

    cdef int defer(self, const unsigned char* body, size_t size) except -1:
        """Put a CONNECT aside until the other workers have given up what this client has with them."""
        self.held = bytearray(body[:size])
        self.connect_size = size
        self.transport.pause_reading()
        self.hub.on_coming(self, self.user_name + b"\0" + self.client_id)
        return 0

    def go_on(self) -> None:
        """The other workers have answered."""
        cdef bytearray held = self.held
        cdef const unsigned char* at
        self.held = None
        if self.state != STATE_AWAIT_CONNECT or held is None or self.hub.is_stopped:
            return
        self.is_cleared = True
        self.hub.received_ms = 0
        at = held
        self.on_connect(at, self.connect_size)
        if self.hub.quota.is_on:
            self.hub.read_s = monotonic_s()
        if self.state < STATE_LEAVING:
            if <size_t>len(held) > self.connect_size:
                Connection.consume(self, at + self.connect_size, <size_t>len(held) - self.connect_size)
            if self.state < STATE_LEAVING and not self.is_held():
                self.transport.resume_reading()
            self.hub.gathered()

    cdef int stash(self, const unsigned char* at, size_t size) except -1:
        """Keep the beginning of a packet. The room grows with what came, not with what was announced."""
        cdef size_t room
        cdef void* grown
        if self.rest_size + size > self.rest_capacity:
            room = max(self.rest_size + size, min(2 * self.rest_capacity, <size_t>self.hub.max_packet_bytes), 64)
            grown = realloc(self.rest, room)
            if grown == NULL:
                raise MemoryError
            self.keep(<unsigned char*>grown, room)
        if self.rest_size == 0:
            self.hub.slots[self.slot].rest_tick = self.hub.now_tick
        memcpy(self.rest + self.rest_size, at, size)
        self.rest_size += size
        return 0

    cdef int keep(self, unsigned char* room, size_t capacity) noexcept:
        self.hub.partial_bytes += capacity - self.rest_capacity
        self.rest = room
        self.rest_capacity = capacity
        return 0

    cdef int forget(self) noexcept:
        free(self.rest)
        self.keep(NULL, 0)
        self.rest_size = 0
        self.hub.slots[self.slot].rest_tick = 0
        return 0

    cdef ReasonCode admit(self, Header* header, Cursor* body) noexcept:
        """Whether a packet may come at all, by its header: before a byte of its body is kept."""
        cdef ReasonCode code = check_flags(header.type, header.flags)
        cdef size_t size = 1 + varint_size(header.size) + header.size
        if self.state == STATE_AWAIT_CONNECT:
            if header.type != CONNECT:
                return RC_PROTOCOL_ERROR
            if code != RC_SUCCESS:
                return code
            return RC_PACKET_TOO_LARGE if size > min(CONNECT_MAX_BYTES, self.hub.max_packet_bytes) else RC_SUCCESS
        if code != RC_SUCCESS:
            return code
        if header.type == CONNECT:
            return RC_PROTOCOL_ERROR
        return RC_PACKET_TOO_LARGE if size > self.hub.max_packet_bytes else RC_SUCCESS

    cdef int fail(self, ReasonCode code, unsigned char type) except -1:
        """The connection cannot go on; a message in the offending packet counts as rejected."""
        if self.state == STATE_AWAIT_CONNECT:
            self.hub.count_connect("not_a_connect" if code == RC_PROTOCOL_ERROR else
                                   "packet_too_large" if code == RC_PACKET_TOO_LARGE else "malformed_packet")
            self.transport.abort()
            self.state = STATE_LEAVING
            return 0
        if type == PUBLISH:
            self.hub.rejected[<int>code] += 1
        self.hub.report("packet_refused", self.user_name or b"", b"reason code 0x%02x" % <int>code)
        return self.leave(code)

    cdef int take(self, Header* header, const unsigned char* body) except -1:
        """One whole packet."""
        cdef ReasonCode code
        cdef unsigned char type = header.type
        if type == PUBLISH:
            return self.on_publish(header, body)        # marked by resolve, where others of its device may be too
        if self.is_told:
            mark_seen(self.hub.states, self.device, self.hub.clock_ms())
        if type == PINGREQ:
            code = RC_MALFORMED_PACKET if header.size else RC_SUCCESS
            if code == RC_SUCCESS:
                self.say(b"\xd0\x00")
        elif type == CONNECT:
            return self.on_connect(body, header.size)
        elif type == DISCONNECT:
            code = self.on_disconnect(header, body)
        elif type == SUBSCRIBE or type == UNSUBSCRIBE:
            code = self.on_subscribe(header, body)
        else:
            code = self.on_ack(header, body)
        return self.fail(code, type) if code != RC_SUCCESS else 0

    cdef ReasonCode on_disconnect(self, Header* header, const unsigned char* body) except *:
        cdef Ack ack
        cdef unsigned int expiry_s
        cdef ReasonCode code = read_disconnect(body, header.size, self.version, &ack)
        if code != RC_SUCCESS:
            return code
        if has(&ack.properties, P_SESSION_EXPIRY):
            expiry_s = ack.properties.numbers[P_SESSION_EXPIRY]
            if expiry_s and not self.has_session_expiry:        # section 3.14.2.2.2
                return RC_PROTOCOL_ERROR
            if self.session is not None:
                self.session.expiry_s = min(expiry_s, self.session.expiry_s and self.hub.router.max_expiry_s)
        if self.session is not None and ack.reason == RC_SUCCESS:
            self.session.will = None                            # [MQTT-3.14.4-3]
        self.parting = ack.reason
        self.hang_up()
        return RC_SUCCESS

    cdef ReasonCode on_ack(self, Header* header, const unsigned char* body) except *:
        """Acknowledgements of what we sent, and PUBREL for what the client sent at QoS 2."""
        cdef Ack ack
        cdef Session session = self.session
        cdef bint is_ours
        cdef ReasonCode code = read_ack(body, header.size, header.type, self.version, &ack)
        if code != RC_SUCCESS:
            return code
        if header.type == PUBREL:
            is_ours = session is not None and remove_id(&session.inbound, ack.packet_id)
            if is_ours and self.unacked:
                self.unacked -= 1
            self.say(reply.ack(self.version, PUBCOMP, ack.packet_id, RC_SUCCESS if is_ours else RC_PACKET_ID_NOT_FOUND))
        elif session is not None and session.outbox is not None:
            if header.type == PUBACK:
                session.outbox.on_puback(self, ack.packet_id)
            elif header.type == PUBREC:
                session.outbox.on_pubrec(self, ack.packet_id, ack.reason)
            else:
                session.outbox.on_pubcomp(self, ack.packet_id)
        elif header.type == PUBREC and ack.reason < 0x80:
            self.say(reply.ack(self.version, PUBREL, ack.packet_id, RC_PACKET_ID_NOT_FOUND))
        return RC_SUCCESS

    # PUBLISH

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

    def may_publish(self, bytes topic not None) -> bool:
        """Whether an operator may: by its filters, and never what only a device can say of itself."""
        cdef Topic parts
        if parse_topic(topic, <size_t>len(topic), &parts) == TOPIC_TELEMETRY:
            return False
        return any(covers(filter, topic) for filter in self.operator.publish_filters)

    cdef Message message_of(self, Publish* publish, bytes topic):
        return new_message(
            topic, publish.payload.at[: publish.payload.size] if publish.payload.size else b"",
            forwarded(&publish.properties), publish.qos, publish.is_retained,
            expiry_of(publish.expiry_s) if publish.has_expiry else NEVER,
        )

    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept:
        """Slot of the device whose readings these are: the topic's, or the gateway's own; or NOBODY."""
        cdef const unsigned char* at = publish.topic.at
        cdef size_t size = publish.topic.size
        cdef Topic topic
        cdef Hub hub = self.hub
        cdef Device* own
        cdef int child
        if size > 8 + self.id_size and memcmp(at, b"cf/v1/d/", 8) == 0 and at[8 + self.id_size] == b"/" \
                and memcmp(at + 8, self.id, self.id_size) == 0:
            if parse_below_id(at + 8 + self.id_size, size - 8 - self.id_size, encoding) != TOPIC_TELEMETRY:
                reason[0] = REASON_UNSUPPORTED_TOPIC
            return self.device
        if parse_topic(at, size, &topic) == TOPIC_FOREIGN:
            own = hub.index.at(self.device)
            if own.flags & DEVICE_GATEWAY and is_of_family(family_of(own.default_encoding), at, size):
                scope[0] = SCOPE_GATEWAY
                encoding[0] = own.default_encoding
                if foreign_encoding(at, size) == ENCODING_UNKNOWN:
                    reason[0] = REASON_UNSUPPORTED_TOPIC
                return self.device
            return NOBODY
        if topic.kind != TOPIC_TELEMETRY:
            reason[0] = REASON_UNSUPPORTED_TOPIC
        encoding[0] = topic.encoding
        scope[0] = topic.scope
        if not hub.index.at(self.device).flags & DEVICE_GATEWAY:
            return NOBODY
        if topic.scope == SCOPE_GATEWAY:
            if topic.id_size == self.id_size and memcmp(topic.id, self.id, self.id_size) == 0:
                return self.device
            return NOBODY
        child = hub.index.find(topic.id, topic.id_size)
        if child < 0 or hub.index.at(child).gateway_num != hub.index.at(self.device).device_num:
            return NOBODY
        return child

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

    # CONNECT

    cdef int deny(self, int version, int code, str result) except -1:
        """CONNACK with a reason, where the client's protocol has one, and the end."""
        cdef bytes reason = reply.reason_text(<unsigned char>code)
        cdef bytes packet = reply.connack(<unsigned char>version, <unsigned char>code, False,
                                          reply.string_property(P_REASON_STRING, reason) if reason else b"")
        self.hub.count_connect(result)
        if <size_t>len(packet) > self.max_packet_bytes:                     # [MQTT-3.2.2-19]
            packet = reply.connack(<unsigned char>version, <unsigned char>code, False, b"")
        if <size_t>len(packet) <= self.max_packet_bytes:
            self.say(packet)
        return self.hang_up()

    cdef str authenticate(self, Connect* connect, ReasonCode* code):
        """Sets who this is. Returns None, or what to count; then `code` says how to refuse."""
        cdef Hub hub = self.hub
        cdef int slot
        code[0] = RC_BAD_USER_NAME_OR_PASSWORD
        if not (connect.has_username and connect.has_password):
            return "no_credentials"
        self.user_name = connect.username.at[:connect.username.size]
        password = connect.password.at[:connect.password.size]
        if self.user_name.startswith(b"operator:"):
            self.operator = hub.index.authenticate_operator(self.user_name[9:], password)
            if self.operator is None:
                if hub.index.awaits_snapshot:
                    code[0] = RC_SERVER_UNAVAILABLE
                    return "index_not_loaded"
                return "wrong_token"
            self.owner = self.user_name
            return None
        slot = hub.index.authenticate(self.user_name, password)
        if slot < 0:
            if slot == -4:
                code[0] = RC_SERVER_UNAVAILABLE
                return "index_not_loaded"
            if slot == -3:
                code[0] = RC_NOT_AUTHORIZED
                return "decommissioned"
            return "unknown_device" if slot == -1 else "wrong_token"
        if hub.index.at(slot).flags & DEVICE_GATEWAY:
            self.traffic = TRAFFIC_GATEWAYS
        self.device = slot
        self.owner = slot
        self.id = self.user_name
        self.id_size = <size_t>len(self.user_name)
        return None

    cdef int on_connect(self, const unsigned char* body, size_t size) except -1:
        cdef Hub hub = self.hub
        cdef Connect connect
        cdef int keep_alive_s
        cdef bint is_present = False
        cdef bytes properties, assigned = b"", packet
        cdef list will = []
        cdef str refusal
        cdef ReasonCode code = read_connect(body, size, &connect)
        self.max_packet_bytes = 0xFFFFFFFF
        if code != RC_SUCCESS:
            if code == RC_UNSUPPORTED_VERSION:
                return self.deny(VERSION_5 if connect.version > VERSION_5 else VERSION_3_1_1, code,
                                 "unsupported_version")
            return self.deny(VERSION_5 if connect.version == VERSION_5 else VERSION_3_1_1, code, "malformed_packet")
        self.version = connect.version
        if has(&connect.properties, P_MAXIMUM_PACKET_SIZE):
            self.max_packet_bytes = connect.properties.numbers[P_MAXIMUM_PACKET_SIZE]
        if has(&connect.properties, P_AUTHENTICATION_METHOD):
            return self.deny(self.version, RC_BAD_AUTHENTICATION_METHOD, "bad_authentication_method")
        refusal = self.authenticate(&connect, &code)
        if refusal is not None:
            hub.report(refusal, self.user_name or b"", b"")
            return self.deny(self.version, code, refusal)
        if self.operator is None and hub.refusing & self.traffic:
            return self.deny(self.version, RC_SERVER_BUSY, "server_busy")
        self.client_id = connect.client_id.at[:connect.client_id.size]
        if not self.client_id:
            if self.version == VERSION_3_1_1 and not connect.is_clean:
                return self.deny(self.version, RC_CLIENT_ID_NOT_VALID, "client_id_not_valid")
            self.client_id = assigned = b"cf-" + token_hex(8).encode()
        elif hub.on_coming is not None and not self.is_cleared:
            return self.defer(body, size)
        if connect.has_will:
            code = self.take_will(&connect, will)
            if code != RC_SUCCESS:
                hub.report("will_refused", self.user_name, connect.will_topic.at[:connect.will_topic.size])
                return self.deny(self.version, code, "will_refused")
        hub.enter(self)                     # first, so that taking over one's own connection needs no free place
        if hub.open_count > hub.max_connections:
            hub.withdraw(self)
            self.state = STATE_AWAIT_CONNECT
            return self.deny(self.version, RC_QUOTA_EXCEEDED, "too_many_connections")
        self.ack_base = <unsigned long long>self.slot << 32 | <unsigned long long>self.generation << 16
        self.window = hub.outbound_window
        keep_alive_s = connect.keep_alive_s
        # A 3.1.1 client cannot be told that it asked for too much, so it gets what it asked for.
        if keep_alive_s == 0 or (keep_alive_s > <int>hub.max_keep_alive_s and self.version == VERSION_5):
            keep_alive_s = <int>hub.max_keep_alive_s
        hub.slots[self.slot].allowed_ticks = <unsigned int>(keep_alive_s * 1500 // TICK_MS + 1)
        if self.version == VERSION_5:
            if has(&connect.properties, P_RECEIVE_MAXIMUM):
                self.window = min(self.window, <unsigned short>connect.properties.numbers[P_RECEIVE_MAXIMUM])
            if has(&connect.properties, P_TOPIC_ALIAS_MAXIMUM):
                self.alias_maximum = min(
                    hub.aliases_out, <unsigned short>connect.properties.numbers[P_TOPIC_ALIAS_MAXIMUM]
                )
            self.wants_reasons = (
                not has(&connect.properties, P_REQUEST_PROBLEM_INFORMATION)
                or connect.properties.numbers[P_REQUEST_PROBLEM_INFORMATION] != 0
            )
        properties = self.begin_session(&connect, &is_present)
        if will:
            self.need_session().will = will[0]
        if self.version == VERSION_5:
            properties += self.offer(keep_alive_s if keep_alive_s != connect.keep_alive_s else 0, assigned)
        packet = reply.connack(self.version, RC_SUCCESS, is_present, properties)
        if <size_t>len(packet) > self.max_packet_bytes:
            hub.count_connect("accepts_too_small_packets")
            return self.hang_up()
        hub.count_connect("accepted")
        if self.device >= 0 and hub.states is not None:
            hub.states.opened(self.device)
            self.is_told = True
        self.say(packet)
        if self.session is not None:
            hub.router.rejoin(self.session, self)
        return 0

    cdef bytes begin_session(self, Connect* connect, bint* is_present):
        """Clean Start, Session Present and Session Expiry. Returns the properties of the CONNACK about them."""
        cdef Router router = self.hub.router
        cdef bytes key = self.user_name + b"\0" + self.client_id
        cdef Session session = router.sessions.get(key)
        cdef unsigned int asked_s = 0, expiry_s
        if self.version == VERSION_3_1_1:
            asked_s = 0 if connect.is_clean else NO_EXPIRY
        elif has(&connect.properties, P_SESSION_EXPIRY):
            asked_s = connect.properties.numbers[P_SESSION_EXPIRY]
        self.has_session_expiry = asked_s != 0
        expiry_s = min(asked_s, router.max_expiry_s)
        if session is not None and (connect.is_clean or not self.may_still(session)):
            router.end(session)
            session = None
        if session is not None:
            is_present[0] = True
            router.sessions_resumed += 1
            session.will = None
            session.expiry_s = expiry_s
        elif expiry_s:
            session = router.open(key, self.owner, self.device, expiry_s)
            expiry_s = session.expiry_s
        self.session = session
        if session is not None:
            session.link = self
        if self.version == VERSION_5 and expiry_s != asked_s:
            return reply.number_property(P_SESSION_EXPIRY, 4, expiry_s)
        return b""

    cdef bint may_still(self, Session session) except -1:
        """Whether a session holds nothing that its user may not see any more; else it has ended."""
        cdef Subscription subscription
        cdef int child = -1
        if session.subscriptions is not None:
            for subscription in session.subscriptions.values():
                if not self.may_see(split_shared(subscription.filter)[0], &child) or child != subscription.child:
                    return False
        return True

    cdef Session need_session(self):
        """This connection's session, which only now has something to keep: it ends with the connection."""
        if self.session is None:
            self.session = self.hub.router.open(self.user_name + b"\0" + self.client_id, self.owner, self.device, 0)
            self.session.link = self
        return self.session

    cdef ReasonCode take_will(self, Connect* connect, list will) except *:
        """Judge a will as the message that it will be, and put it into the list."""
        cdef Publish publish
        cdef Will made
        cdef unsigned char scope = SCOPE_DEVICE, encoding = ENCODING_DEFAULT, reason = REASON_NONE
        cdef int sender = NOBODY
        cdef bytes topic = connect.will_topic.at[:connect.will_topic.size]
        if self.operator is not None:
            if not self.may_publish(topic):
                return RC_NOT_AUTHORIZED
        else:
            publish.topic = connect.will_topic
            sender = self.whose(&publish, &scope, &encoding, &reason)
            if sender == NOBODY:
                return RC_NOT_AUTHORIZED
        if has(&connect.will, P_PAYLOAD_FORMAT) and connect.will.numbers[P_PAYLOAD_FORMAT] == 1 \
                and not is_utf8(connect.will_payload.at, connect.will_payload.size):
            return RC_PAYLOAD_FORMAT_INVALID
        if encoding == ENCODING_DEFAULT and connect.will.seen and connect.will.content_type.size:
            encoding = encoding_of_content_type(connect.will.content_type.at, connect.will.content_type.size)
        made = Will.__new__(Will)
        made.message = new_message(
            topic, connect.will_payload.at[:connect.will_payload.size] if connect.will_payload.size else b"",
            forwarded(&connect.will.block), connect.will_qos, connect.will_retain, NEVER,
        )
        if has(&connect.will, P_WILL_DELAY):
            made.delay_s = connect.will.numbers[P_WILL_DELAY]
        made.has_expiry = has(&connect.will, P_MESSAGE_EXPIRY)
        if made.has_expiry:
            made.expiry_s = connect.will.numbers[P_MESSAGE_EXPIRY]
        made.sender = sender
        made.scope = scope
        made.encoding = encoding
        made.reason = reason
        will.append(made)
        return RC_SUCCESS

    def offer(self, int server_keep_alive_s, bytes assigned_client_id) -> bytes:
        """The properties of a CONNACK: where this server differs from what a client assumes."""
        properties = [
            reply.number_property(P_MAXIMUM_PACKET_SIZE, 4, self.hub.max_packet_bytes),
            reply.number_property(P_TOPIC_ALIAS_MAXIMUM, 2, TOPIC_ALIAS_MAXIMUM),
        ]
        if self.hub.receive_maximum < 65_535:
            properties.append(reply.number_property(P_RECEIVE_MAXIMUM, 2, self.hub.receive_maximum))
        if server_keep_alive_s:
            properties.append(reply.number_property(P_SERVER_KEEP_ALIVE, 2, server_keep_alive_s))
        if assigned_client_id:
            properties.append(reply.string_property(P_ASSIGNED_CLIENT_ID, assigned_client_id))
        return b"".join(properties)

    # SUBSCRIBE and UNSUBSCRIBE

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

    cdef bint may_see(self, bytes filter, int* child) except -1:
        if self.operator is None:
            return device_may_see(self.hub.index, self.device, self.user_name, filter, child)
        for allowed in self.operator.subscribe_filters:
            if covers(allowed, filter):
                return True
        return False


cdef inline bint add_unsure(Session session, unsigned short packet_id) noexcept:
    """May be there from a connection that was lost before its PUBREC."""
    return holds_id(&session.unsure, packet_id) or add_id(&session.unsure, packet_id)


cdef inline bint is_shared(Span* filter) noexcept:
    return filter.size > 7 and memcmp(filter.at, b"$share/", 7) == 0
