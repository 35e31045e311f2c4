# cython: language_level=3
"""CONNECT: who may come in, with which session and which will, and what it is told."""

from secrets import token_hex

from ext.mqtt cimport reply
from ext.mqtt.framing cimport Framed
from ext.mqtt.hub cimport STATE_AWAIT_CONNECT, STATE_LEAVING, TICK_MS, Hub
from ext.mqtt.identity cimport NOBODY
from ext.mqtt.message cimport NEVER, new_message
from ext.mqtt.packet cimport VERSION_3_1_1, VERSION_5, Connect, Publish, read_connect
from ext.mqtt.properties cimport (
    P_ASSIGNED_CLIENT_ID, P_AUTHENTICATION_METHOD, P_MAXIMUM_PACKET_SIZE, P_MESSAGE_EXPIRY, P_PAYLOAD_FORMAT,
    P_REASON_STRING, P_RECEIVE_MAXIMUM, P_REQUEST_PROBLEM_INFORMATION, P_SERVER_KEEP_ALIVE, P_SESSION_EXPIRY,
    P_TOPIC_ALIAS_MAXIMUM, P_WILL_DELAY, forwarded, has,
)
from ext.mqtt.publishing cimport TOPIC_ALIAS_MAXIMUM
from ext.mqtt.reason cimport (
    RC_BAD_AUTHENTICATION_METHOD, RC_CLIENT_ID_NOT_VALID, RC_NOT_AUTHORIZED, RC_PAYLOAD_FORMAT_INVALID,
    RC_QUOTA_EXCEEDED, RC_SERVER_BUSY, RC_SUCCESS, RC_UNSUPPORTED_VERSION,
)
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session, Will
from ext.mqtt.subscriptions cimport Subscription, split_shared
from ext.telemetry.frames cimport ENCODING_DEFAULT, REASON_NONE, SCOPE_DEVICE
from ext.telemetry.quota cimport monotonic_s
from ext.telemetry.topic cimport encoding_of_content_type
from ext.wire.utf8 cimport is_utf8


cdef enum:
    NO_EXPIRY = 0xFFFFFFFF


cdef class Entrant(Subscriber):
    """A connection that comes in."""

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

    # Its session and its will

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

    # While the other workers are asked

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
                Framed.consume(self, at + self.connect_size, <size_t>len(held) - self.connect_size)
            if self.state < STATE_LEAVING and not self.is_held():
                self.transport.resume_reading()
            self.hub.gathered()
