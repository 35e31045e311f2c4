# cython: language_level=3
"""One MQTT client: an asyncio.BufferedProtocol for uvloop that puts PUBLISH packets into the hub's chunk.

No Python object is made for a PUBLISH. All connections of a hub share one read buffer: uvloop calls get_buffer,
read(2) and buffer_updated back to back, so it holds one connection's bytes at a time.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from secrets import token_hex

from ext.mqtt cimport reply
from ext.mqtt.filters cimport filter_form
from ext.mqtt.hub cimport STATE_AWAIT_CONNECT, STATE_LEAVING, STATE_OPEN, TICK_MS, Hub
from ext.mqtt.packet cimport (
    CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBLISH, SUBSCRIBE, VERSION_3_1_1, VERSION_5, Ack, Connect,
    Subscription, check_flags, check_topic_name, is_filter, read_connect, read_disconnect, read_filter, read_header,
    read_puback, read_publish, read_subscribe,
)
from ext.mqtt.properties cimport (
    P_ASSIGNED_CLIENT_ID, P_AUTHENTICATION_METHOD, P_MAXIMUM_PACKET_SIZE, P_MAXIMUM_QOS, P_REASON_STRING,
    P_RECEIVE_MAXIMUM, P_RETAIN_AVAILABLE, P_SERVER_KEEP_ALIVE, P_SESSION_EXPIRY, P_SHARED_SUBSCRIPTION_AVAILABLE,
    P_SUBSCRIPTION_IDENTIFIER, P_SUBSCRIPTION_IDENTIFIER_AVAILABLE, P_TOPIC_ALIAS_MAXIMUM, Properties, has,
)
from ext.mqtt.reason cimport (
    RC_BAD_AUTHENTICATION_METHOD, RC_BAD_USER_NAME_OR_PASSWORD, RC_CLIENT_ID_NOT_VALID, RC_IMPLEMENTATION_ERROR,
    RC_MALFORMED_PACKET, RC_NO_SUBSCRIPTION_EXISTED, RC_NOT_AUTHORIZED, RC_PACKET_TOO_LARGE,
    RC_PAYLOAD_FORMAT_INVALID, RC_PROTOCOL_ERROR, RC_QOS_NOT_SUPPORTED, RC_QUOTA_EXCEEDED,
    RC_RECEIVE_MAXIMUM_EXCEEDED, RC_RETAIN_NOT_SUPPORTED, RC_SERVER_UNAVAILABLE,
    RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, RC_SUCCESS, RC_TOPIC_ALIAS_INVALID, RC_TOPIC_FILTER_INVALID,
    RC_UNSUPPORTED_VERSION,
)
from ext.telemetry.frames cimport (
    ENCODING_DEFAULT, ENCODING_UNKNOWN, REASON_NONE, REASON_UNSUPPORTED_TOPIC, SCOPE_DEVICE, SCOPE_GATEWAY, Frame,
)
from ext.telemetry.index cimport DEVICE_GATEWAY
from ext.telemetry.topic cimport (
    TOPIC_FOREIGN, TOPIC_TELEMETRY, Topic, encoding_of_content_type, parse_below_id, parse_topic,
)
from ext.wire.cursor cimport STEP_MALFORMED, STEP_NEED_MORE, STEP_OK, Step
from ext.wire.utf8 cimport is_utf8
from ext.wire.varint cimport varint_size

cdef enum:
    NOBODY = -1
    ALIVE_BYTES = 1_000         # so much of a large packet counts as a sign of life on a slow link


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
        self.consume(hub.read_at, <size_t>size)
        if self.state >= STATE_LEAVING:
            free(self.rest)
            self.rest = NULL
            self.rest_size = self.rest_capacity = 0
        elif hub.is_paused:                 # accepted, or given up by its client, while the others were paused
            self.transport.pause_reading()
        hub.gathered()

    def eof_received(self):
        return None                         # the transport closes

    def pause_writing(self) -> None:
        """The client does not read our answers: it may send no more until it does, and has 10 s for that."""
        self.hub.slots[self.slot].blocked_tick = self.hub.now_tick
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.hub.slots[self.slot].blocked_tick = 0
        if not self.hub.is_paused or self.state >= STATE_LEAVING:
            self.transport.resume_reading()

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
            if self.rest_capacity > 64:
                free(self.rest)
                self.rest = NULL
                self.rest_capacity = 0
            return at + missing

    cdef int stash(self, const unsigned char* at, size_t size) except -1:
        """Keep the beginning of a packet. The room grows with what came, not with what was announced."""
        cdef size_t room
        cdef void* grown
        if self.rest_size + size > self.rest_capacity:
            room = max(self.rest_size + size, min(2 * self.rest_capacity, <size_t>self.hub.max_packet_bytes), 64)
            grown = realloc(self.rest, room)
            if grown == NULL:
                raise MemoryError
            self.rest = <unsigned char*>grown
            self.rest_capacity = room
        memcpy(self.rest + self.rest_size, at, size)
        self.rest_size += size
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
        if size > self.hub.max_packet_bytes:
            return RC_PACKET_TOO_LARGE
        if header.type == PUBLISH:
            if header.flags & 4:
                return RC_QOS_NOT_SUPPORTED
            if header.flags & 1 and self.version == VERSION_5:
                return RC_RETAIN_NOT_SUPPORTED
        return RC_SUCCESS

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
        self.hub.report("packet_refused", self.device_id, b"reason code 0x%02x" % <int>code)
        return self.leave(code)

    cdef int take(self, Header* header, const unsigned char* body) except -1:
        """One whole packet."""
        cdef Ack ack
        cdef ReasonCode code = RC_SUCCESS
        if header.type == PUBLISH:
            return self.on_publish(header, body)
        if header.type == PINGREQ:
            if header.size == 0:
                self.say(b"\xd0\x00")
            else:
                code = RC_MALFORMED_PACKET
        elif header.type == PUBACK:
            code = read_puback(body, header.size, self.version, &ack)
            if code == RC_SUCCESS and self.outbound is not None:
                self.outbound.discard(ack.packet_id)
        elif header.type == CONNECT:
            return self.on_connect(body, header.size)
        elif header.type == DISCONNECT:
            code = read_disconnect(body, header.size, self.version, &ack)
            if code == RC_SUCCESS and has(&ack.properties, P_SESSION_EXPIRY) \
                    and ack.properties.numbers[P_SESSION_EXPIRY] and not self.has_session_expiry:
                code = RC_PROTOCOL_ERROR            # [MQTT-3.14.2-2] allows no session where none was asked for
            if code == RC_SUCCESS:
                self.hang_up()
        else:
            code = self.on_subscribe(header, body)
        return self.fail(code, header.type) if code != RC_SUCCESS else 0

    # PUBLISH

    cdef int on_publish(self, Header* header, const unsigned char* body) except -1:
        cdef Hub hub = self.hub
        cdef Publish publish
        cdef Frame* frame
        cdef unsigned char scope = SCOPE_DEVICE, encoding = ENCODING_DEFAULT, reason = REASON_NONE
        cdef int sender
        cdef ReasonCode code = read_publish(body, header.size, header.flags, self.version, &publish)
        if code == RC_SUCCESS and publish.topic_alias:
            code = self.resolve_alias(&publish)
        if code == RC_SUCCESS and publish.qos and self.version == VERSION_5 and self.unacked >= hub.receive_maximum:
            code = RC_RECEIVE_MAXIMUM_EXCEEDED
        if code != RC_SUCCESS:
            return self.fail(code, PUBLISH)
        sender = self.whose(&publish, &scope, &encoding, &reason)
        if sender == NOBODY:
            code = check_topic_name(publish.topic.at, publish.topic.size)
            if code != RC_SUCCESS:
                return self.fail(code, PUBLISH)
            return self.refuse_publish(&publish, RC_NOT_AUTHORIZED)
        if reason != REASON_NONE or encoding == ENCODING_UNKNOWN:   # a topic that is ours letter by letter is valid
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
            hub.messages[1] += 1
        else:
            hub.messages[0] += 1
        return 0

    cdef int whose(self, Publish* publish, unsigned char* scope, unsigned char* encoding,
                   unsigned char* reason) noexcept:
        """Slot of the device whose readings these are: the topic's, or the gateway's own; or NOBODY."""
        cdef const unsigned char* at = publish.topic.at
        cdef size_t size = publish.topic.size
        cdef Topic topic
        cdef Hub hub = self.hub
        cdef int child
        if size > 8 + self.id_size and memcmp(at, b"cf/v1/d/", 8) == 0 and at[8 + self.id_size] == b"/" \
                and memcmp(at + 8, self.id, self.id_size) == 0:
            if parse_below_id(at + 8 + self.id_size, size - 8 - self.id_size, encoding) != TOPIC_TELEMETRY:
                reason[0] = REASON_UNSUPPORTED_TOPIC
            return self.device
        if parse_topic(at, size, &topic) == TOPIC_FOREIGN:
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
        """Not taken. MQTT 5 has a PUBACK for that; a 3.1.1 client can only be cut off."""
        self.hub.rejected[<int>code] += 1
        self.hub.report("not_authorized" if code == RC_NOT_AUTHORIZED else "payload_format_invalid", self.device_id,
                        publish.topic.at[:publish.topic.size])
        if self.version != VERSION_5:
            return self.leave(code)
        if publish.qos:
            return self.hub.refuse_in_order(self, publish.packet_id, <unsigned char>code)
        return 0

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
        self.hub.count_connect(result)
        self.say(reply.connack(<unsigned char>version, <unsigned char>code,
                               reply.string_property(P_REASON_STRING, reason) if reason else b""))
        return self.hang_up()

    cdef int on_connect(self, const unsigned char* body, size_t size) except -1:
        cdef Hub hub = self.hub
        cdef Connect connect
        cdef int slot, keep_alive_s
        cdef bytes properties = b"", assigned = b""
        cdef ReasonCode code = read_connect(body, size, &connect)
        if code != RC_SUCCESS:
            if code == RC_UNSUPPORTED_VERSION:
                return self.deny(VERSION_5 if connect.version > VERSION_5 else VERSION_3_1_1, code,
                                 "unsupported_version")
            return self.deny(VERSION_5 if connect.version == VERSION_5 else VERSION_3_1_1, code, "malformed_packet")
        self.version = connect.version
        if has(&connect.properties, P_AUTHENTICATION_METHOD):
            return self.deny(self.version, RC_BAD_AUTHENTICATION_METHOD, "bad_authentication_method")
        slot = NOBODY
        if connect.has_username and connect.has_password:
            self.device_id = connect.username.at[:connect.username.size]
            slot = hub.index.authenticate(self.device_id, connect.password.at[:connect.password.size])
        if slot < 0:
            if slot == -4:
                return self.deny(self.version, RC_SERVER_UNAVAILABLE, "index_not_loaded")
            result = {-1: "unknown_device", -2: "wrong_token"}.get(slot, "decommissioned")
            if not (connect.has_username and connect.has_password):
                result = "no_credentials"
            hub.report(result, self.device_id or b"", b"")
            return self.deny(self.version, RC_NOT_AUTHORIZED if slot <= -3 else RC_BAD_USER_NAME_OR_PASSWORD, result)
        self.client_id = connect.client_id.at[:connect.client_id.size]
        if self.version == VERSION_3_1_1:
            if not self.client_id and not connect.is_clean:
                return self.deny(self.version, RC_CLIENT_ID_NOT_VALID, "client_id_not_valid")
        elif connect.will_qos == 2:
            return self.deny(self.version, RC_QOS_NOT_SUPPORTED, "will_qos_not_supported")
        elif connect.will_retain:
            return self.deny(self.version, RC_RETAIN_NOT_SUPPORTED, "will_retain_not_supported")
        elif not self.client_id:
            self.client_id = assigned = b"cf-" + token_hex(8).encode()
        self.device = slot
        hub.enter(self)                     # first, so that taking over one's own connection needs no free place
        if hub.open_count > hub.max_connections:
            hub.withdraw(self)
            self.state = STATE_AWAIT_CONNECT
            return self.deny(self.version, RC_QUOTA_EXCEEDED, "too_many_connections")
        self.id = self.device_id
        self.id_size = <size_t>len(self.device_id)
        self.ack_base = <unsigned long long>self.slot << 32 | <unsigned long long>self.generation << 16
        self.window = 65_535
        self.max_packet_bytes = 0xFFFFFFFF
        keep_alive_s = connect.keep_alive_s
        # A 3.1.1 client cannot be told that it asked for too much, so it gets what it asked for.
        if keep_alive_s == 0 or (keep_alive_s > <int>hub.max_keep_alive_s and self.version == VERSION_5):
            keep_alive_s = <int>hub.max_keep_alive_s
        hub.slots[self.slot].allowed_ticks = <unsigned int>(keep_alive_s * 1500 // TICK_MS + 1)
        if self.version == VERSION_5:
            if has(&connect.properties, P_RECEIVE_MAXIMUM):
                self.window = <unsigned short>connect.properties.numbers[P_RECEIVE_MAXIMUM]
            if has(&connect.properties, P_MAXIMUM_PACKET_SIZE):
                self.max_packet_bytes = connect.properties.numbers[P_MAXIMUM_PACKET_SIZE]
            self.has_session_expiry = (
                has(&connect.properties, P_SESSION_EXPIRY) and connect.properties.numbers[P_SESSION_EXPIRY] != 0
            )
            properties = self.offer(keep_alive_s if keep_alive_s != connect.keep_alive_s else 0, assigned)
        hub.count_connect("accepted")
        return self.say(reply.connack(self.version, RC_SUCCESS, properties))

    def offer(self, int server_keep_alive_s, bytes assigned_client_id) -> bytes:
        """The properties of a CONNACK: what this server has and has not."""
        properties = [
            reply.number_property(P_MAXIMUM_QOS, 1, 1),
            reply.number_property(P_RETAIN_AVAILABLE, 1, 0),
            reply.number_property(P_MAXIMUM_PACKET_SIZE, 4, self.hub.max_packet_bytes),
            reply.number_property(P_TOPIC_ALIAS_MAXIMUM, 2, TOPIC_ALIAS_MAXIMUM),
            reply.number_property(P_SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1, 0),
            reply.number_property(P_SHARED_SUBSCRIPTION_AVAILABLE, 1, 0),
        ]
        if self.hub.receive_maximum < 65_535:
            properties.append(reply.number_property(P_RECEIVE_MAXIMUM, 2, self.hub.receive_maximum))
        if self.has_session_expiry:
            properties.append(reply.number_property(P_SESSION_EXPIRY, 4, 0))
        if server_keep_alive_s:
            properties.append(reply.number_property(P_SERVER_KEEP_ALIVE, 2, server_keep_alive_s))
        if assigned_client_id:
            properties.append(reply.string_property(P_ASSIGNED_CLIENT_ID, assigned_client_id))
        return b"".join(properties)

    # SUBSCRIBE and UNSUBSCRIBE

    cdef ReasonCode on_subscribe(self, Header* header, const unsigned char* body) except *:
        cdef Cursor c
        cdef Properties properties
        cdef Subscription subscription
        cdef unsigned short packet_id = 0
        cdef ReasonCode code
        cdef const unsigned char* first
        cdef bytearray reasons = bytearray()
        c.at = body
        c.end = body + header.size
        code = read_subscribe(&c, header.type, self.version, &packet_id, &properties)
        if code != RC_SUCCESS:
            return code
        if has(&properties, P_SUBSCRIPTION_IDENTIFIER):
            return RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED
        first = c.at
        while c.at < c.end:                 # all are checked before the first takes effect
            code = read_filter(&c, header.type, self.version, &subscription)
            if code != RC_SUCCESS:
                return code
            if subscription.is_no_local and is_shared(&subscription.filter):    # [MQTT-3.8.3-4]
                return RC_PROTOCOL_ERROR
        c.at = first
        while c.at < c.end:
            read_filter(&c, header.type, self.version, &subscription)
            if header.type == SUBSCRIBE:
                reasons.append(self.subscribe(&subscription.filter, min(subscription.qos, 1)))
            else:
                reasons.append(0 if self.unsubscribe(&subscription.filter) else RC_NO_SUBSCRIPTION_EXISTED)
        if header.type == SUBSCRIBE:
            self.say(reply.suback(self.version, packet_id, bytes(reasons)))
        else:
            self.say(reply.unsuback(self.version, packet_id, bytes(reasons)))
        return RC_SUCCESS

    cdef int filter_target(self, Span* filter, int* form) noexcept:
        """Slot of the device whose downlinks a filter asks for, and which form it has; NOBODY: not this client's."""
        cdef Topic topic
        cdef int child
        if parse_topic(filter.at, filter.size, &topic) == TOPIC_FOREIGN or topic.scope != SCOPE_DEVICE:
            return NOBODY
        form[0] = filter_form(topic.id + topic.id_size + 1, filter.size - 9 - topic.id_size)
        if form[0] < 0:
            return NOBODY
        if topic.id_size == self.id_size and memcmp(topic.id, self.id, self.id_size) == 0:
            return self.device
        if not self.hub.index.at(self.device).flags & DEVICE_GATEWAY:
            return NOBODY
        child = self.hub.index.find(topic.id, topic.id_size)
        if child < 0 or self.hub.index.at(child).gateway_num != self.hub.index.at(self.device).device_num:
            return NOBODY
        return child

    cdef int subscribe(self, Span* filter, int qos) except -1:
        """Returns the reason code of the SUBACK."""
        cdef int form = 0, target
        if is_shared(filter):
            return RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
        if not is_filter(filter.at, filter.size):
            return RC_TOPIC_FILTER_INVALID
        target = self.filter_target(filter, &form)
        if target == NOBODY:
            self.hub.report("subscription_refused", self.device_id, filter.at[:filter.size])
            return RC_NOT_AUTHORIZED
        if target == self.device:
            self.forms |= <unsigned short>(1 << form)
            if qos:
                self.forms_qos1 |= <unsigned short>(1 << form)
            else:
                self.forms_qos1 &= <unsigned short>~(1 << form)
        else:
            self.hub.watch_child(self, target, form, qos)
        return qos

    cdef bint unsubscribe(self, Span* filter) except -1:
        cdef int form = 0
        cdef int target = self.filter_target(filter, &form)
        if target == NOBODY:
            return False
        if target != self.device:
            return self.hub.unwatch_child(self, target, form)
        if not self.forms >> form & 1:
            return False
        self.forms &= <unsigned short>~(1 << form)
        self.forms_qos1 &= self.forms
        return True


cdef inline bint is_shared(Span* filter) noexcept:
    return filter.size > 7 and memcmp(filter.at, b"$share/", 7) == 0
