# cython: language_level=3
"""One connection to an external broker: an asyncio.BufferedProtocol for uvloop that puts PUBLISH packets into the
intake's chunk, and acknowledges them when the chunk is durable. No Python object is made for a message.

All connections of an intake share one read buffer: uvloop calls get_buffer, read(2) and buffer_updated back to back.
A broker writes message by message, so a read brings few of them: after a small one the connection rests until the
chunk is handed on, and the next read brings all that came meanwhile.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from ext.mqtt cimport client_request as request
from ext.mqtt.client_packet cimport (
    Connack, Farewell, Suback, check_server_flags, read_ack, read_connack, read_delivery, read_farewell, read_suback,
)
from ext.mqtt.intake cimport MAX_MEMBERS, SMALL_READ_BYTES, AckDue, DeliveryChunk, Intake
from ext.mqtt.packet cimport (
    CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, VERSION_5, Ack,
)
from ext.mqtt.properties cimport (
    P_MAXIMUM_PACKET_SIZE, P_MAXIMUM_QOS, P_RECEIVE_MAXIMUM, P_SERVER_KEEP_ALIVE, P_SESSION_EXPIRY,
    P_SHARED_SUBSCRIPTION_AVAILABLE, P_TOPIC_ALIAS_MAXIMUM, has,
)
from ext.mqtt.reason cimport (
    RC_IMPLEMENTATION_ERROR, RC_MALFORMED_PACKET, RC_PACKET_TOO_LARGE, RC_PROTOCOL_ERROR,
    RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, RC_SUCCESS, RC_TOPIC_ALIAS_INVALID,
)
from ext.mqtt.stream cimport FOUND_MALFORMED, FOUND_NO_MEMORY, FOUND_NOTHING, FOUND_TOO_LARGE, Found, next_packet, reset
from ext.telemetry.frames cimport (
    ENCODING_CHIRPSTACK_JSON, ENCODING_CHIRPSTACK_PROTOBUF, ENCODING_DEFAULT, ENCODING_UNKNOWN,
    REASON_PAYLOAD_TOO_LARGE, REASON_UNSUPPORTED_TOPIC,
)
from ext.telemetry.topic cimport (
    TOPIC_FOREIGN, TOPIC_TELEMETRY, Topic, encoding_of_content_type, foreign_encoding, parse_topic,
)
from ext.wire.cursor cimport STEP_OK, Cursor, read_prefixed, read_u16

cdef enum:
    SUBSCRIBE_ID = 65_535           # packet ids of ours: above those of messages
    UNSUBSCRIBE_ID = 65_534
    LAST_PUBLISH_ID = 60_000
    RECEIVE_MAXIMUM = 65_535        # the most there is; without it mosquitto sends 20 and then queues
    RC_PACKET_ID_NOT_FOUND = 0x92
    WRITE_LIMIT_BYTES = 1_048_576

LEAVING_S = 2.0                     # how long the broker has to take our last word
BLOCKED_S = 20.0                    # and how long to begin reading again


cdef class BrokerLink(Member):
    """The protocol of one connection, used again for each attempt: `begin`, then loop.create_connection with it.

    `begin` gives two futures: `opened` has the reason codes of the SUBACK, or is cancelled when the attempt fails
    before; `closed` says why the connection ended as (cause, MQTT 5 reason code, what the broker said).
    """

    def __cinit__(self, Intake intake not None, bytes client_id not None, *, size_t max_packet_bytes,
                  double connect_timeout_s, double stall_s, double ack_timeout_s):
        if len(intake.members) >= MAX_MEMBERS:
            raise ValueError(f"at most {MAX_MEMBERS} connections")
        self.intake = intake
        self.number = <unsigned char>len(intake.members)
        self.client_id = client_id
        self.stream.limit = max(max_packet_bytes, <size_t>1024)
        self.connect_timeout_s = connect_timeout_s
        self.stall_s = stall_s
        self.ack_timeout_s = ack_timeout_s
        self.pending = {}
        intake.members.append(self)

    def __dealloc__(self):
        self.forget_aliases()
        free(self.aliases)
        free(self.stream.rest)
        free(self.handshakes)
        free(self.out)

    cdef void forget_aliases(self) noexcept:
        cdef size_t i
        if self.aliases != NULL:
            for i in range(LINK_TOPIC_ALIASES + 1):
                free(<void*>self.aliases[i].at)
            memset(self.aliases, 0, (LINK_TOPIC_ALIASES + 1) * sizeof(Span))

    def begin(self, int version, *, bytes username, bytes password, list filters, list stale_filters, int keep_alive_s,
              unsigned int session_expiry_s, tuple will=None) -> tuple:
        """Prepare the next connection.

        Args:
            version: 4 (MQTT 3.1.1) or 5.
            filters: (filter, SUBSCRIBE options) of all that is wanted; subscribed to on every connect.
            stale_filters: what an earlier run with the same client id subscribed to, if the broker kept its session.
            will: (topic, payload, QoS, retain) or None.
        Returns: the futures `opened` and `closed`.
        """
        cdef bytes properties = b""
        if self.state != LINK_IDLE:
            raise RuntimeError("the connection before has not ended")
        if version == VERSION_5:
            properties = (
                request.number_property(P_SESSION_EXPIRY, 4, session_expiry_s)
                + request.number_property(P_RECEIVE_MAXIMUM, 2, RECEIVE_MAXIMUM)
                + request.number_property(P_TOPIC_ALIAS_MAXIMUM, 2, LINK_TOPIC_ALIASES)
            )
        self.version = <unsigned char>version
        self.filters = filters
        self.stale_filters = stale_filters
        self.keep_alive_s = keep_alive_s
        self.connect_packet = request.connect(
            version, self.client_id, username, password, False, keep_alive_s, properties, will
        )
        self.ending = None
        self.opened = self.intake.loop.create_future()
        self.closed = self.intake.loop.create_future()
        return self.opened, self.closed

    # What the transport calls

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.generation += 1
        self.state = LINK_CONNECTING
        self.is_reading = True
        self.is_resting = False
        self.may_rest = transport.get_extra_info("sslcontext") is None
        self.has_received = False
        self.unacked = 0
        self.out_size = 0
        self.blocked_s = self.ping_sent_s = 0
        self.began_s = self.pinged_s = self.message_s = self.intake.loop.time()
        transport.set_write_buffer_limits(high=WRITE_LIMIT_BYTES)
        transport.write(self.connect_packet)
        self.connect_packet = None

    def connection_lost(self, exc) -> None:
        self.state = LINK_IDLE
        self.transport = None
        self.is_reading = self.is_resting = False
        self.unacked = 0
        self.out_size = 0
        reset(&self.stream)
        self.forget_aliases()
        if self.ending is None:
            self.ending = ("lost", 0, str(exc or "").encode())
        if not self.opened.done():
            self.opened.cancel()
        if not self.closed.done():
            self.closed.set_result(self.ending)

    def get_buffer(self, size_hint):
        return self.intake.read_view

    def buffer_updated(self, Py_ssize_t size) -> None:
        cdef Intake intake = self.intake
        if self.state >= LINK_LEAVING or intake.is_stopped:
            return                          # what we have not taken is still the broker's
        self.bytes_received += <unsigned long long>size
        intake.received_ms = 0
        intake.read_s = intake.loop.time()
        self.consume(intake.read_at, <size_t>size)
        self.say_gathered()
        intake.gathered()
        if self.state >= LINK_LEAVING or self.transport is None:
            return
        if intake.is_paused:                # connected, or given up by the broker, while the others were paused
            self.transport.pause_reading()
        elif size < SMALL_READ_BYTES and self.may_rest and self.state == LINK_OPEN \
                and intake.flush_timer is not None and not self.is_resting:
            self.is_resting = True
            self.transport.pause_reading()

    def eof_received(self):
        return None                         # the transport closes

    def pause_writing(self) -> None:
        """The broker does not read our acknowledgements: we take no more until it does, and it has 20 s for that."""
        self.blocked_s = self.intake.loop.time()
        self.is_reading = False
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.blocked_s = 0
        self.is_reading = True
        if not self.intake.is_paused and not self.is_resting and self.state < LINK_LEAVING:
            self.transport.resume_reading()

    # Packets

    cdef int consume(self, const unsigned char* at, size_t size) except -1:
        cdef Cursor c
        cdef Packet packet
        cdef Found found
        c.at = at
        c.end = at + size
        while self.state < LINK_LEAVING:
            found = next_packet(&self.stream, &c, &packet)
            if found == FOUND_NOTHING:
                return 0
            if found == FOUND_MALFORMED:
                return self.leave("malformed_packet", RC_MALFORMED_PACKET, b"a length that is none")
            if found == FOUND_TOO_LARGE:
                return self.leave("malformed_packet", RC_PACKET_TOO_LARGE, b"type %d" % packet.header.type)
            if found == FOUND_NO_MEMORY:
                return self.leave("no_memory", RC_IMPLEMENTATION_ERROR, b"")
            self.take(&packet)
        return 0

    cdef int take(self, Packet* packet) except -1:
        """One whole packet."""
        cdef unsigned char type = packet.header.type
        cdef Farewell farewell
        cdef ReasonCode code = check_server_flags(type, packet.header.flags)
        if code == RC_SUCCESS and (type == CONNACK) != (self.state == LINK_CONNECTING):
            code = RC_PROTOCOL_ERROR
        if code == RC_SUCCESS:
            if type == PUBLISH:
                code = <ReasonCode>self.on_publish(packet)
            elif type == PUBACK:
                code = <ReasonCode>self.on_puback(packet)
            elif type == PUBREL:
                code = <ReasonCode>self.on_pubrel(packet)
            elif type == PINGRESP:
                if packet.size:
                    code = RC_MALFORMED_PACKET
                self.ping_sent_s = 0
            elif type == CONNACK:
                code = <ReasonCode>self.on_connack(packet)
            elif type == SUBACK or type == UNSUBACK:
                code = <ReasonCode>self.on_suback(packet)
            elif type == DISCONNECT:
                code = read_farewell(packet.body, packet.size, self.version, &farewell)
                if code == RC_SUCCESS:
                    self.end("disconnected", farewell.reason, told(&farewell.reason_string,
                                                                   &farewell.server_reference))
            else:
                code = RC_PROTOCOL_ERROR            # PUBREC or PUBCOMP: we send nothing at QoS 2; or AUTH
        if code != RC_SUCCESS:
            self.leave("malformed_packet" if code == RC_MALFORMED_PACKET else "protocol_error", code,
                       b"type %d" % type)
        return 0

    cdef int on_publish(self, Packet* packet) except -1:
        cdef Intake intake = self.intake
        cdef DeliveryChunk chunk = intake.chunk
        cdef Publish publish
        cdef Frame* frame
        cdef ReasonCode code = read_delivery(packet.body, packet.size, packet.header.flags, self.version, &publish)
        if code != RC_SUCCESS and packet.is_cut:    # in its properties, maybe
            code = salvage(packet, &publish)
        if code == RC_SUCCESS and publish.topic_alias:
            code = self.resolve_alias(&publish)
        if code != RC_SUCCESS:
            return code
        self.messages[publish.qos] += 1
        self.message_s = intake.read_s
        self.has_received = True
        if packet.header.flags & 8:
            self.duplicates += 1
        if publish.qos == 2:
            if self.handshakes == NULL:
                self.handshakes = <unsigned char*>calloc(65_536, 1)
                if self.handshakes == NULL:
                    raise MemoryError
            if self.handshakes[publish.packet_id] != HANDSHAKE_NONE:    # we have it: only our answer was lost
                self.repeats += 1
                self.unacked += 1
                chunk.owe(self.number, self.generation, publish.packet_id, PUBREC)
                return RC_SUCCESS
        if publish.is_retained:         # a state of long ago, which nobody has measured now
            self.retained += 1
        else:
            frame = chunk.append(publish.topic.at, publish.topic.size, publish.payload.at, publish.payload.size)
            if frame == NULL:
                raise MemoryError
            frame.received_ms = intake.clock_ms()
            self.place(&publish, frame)
            if packet.is_cut:
                self.oversized += 1
                frame.reason = REASON_PAYLOAD_TOO_LARGE
        if publish.qos:
            self.unacked += 1
            if publish.qos == 2:
                self.handshakes[publish.packet_id] = HANDSHAKE_TAKEN
            chunk.owe(self.number, self.generation, publish.packet_id, PUBACK if publish.qos == 1 else PUBREC)
        return RC_SUCCESS

    cdef void place(self, Publish* publish, Frame* frame) noexcept:
        """Whose readings these are and how they are written: the broker says who may publish where, so the topic."""
        cdef Topic topic
        frame.sender = -1
        if parse_topic(publish.topic.at, publish.topic.size, &topic) == TOPIC_FOREIGN:
            frame.encoding = foreign_encoding(publish.topic.at, publish.topic.size)
            if frame.encoding == ENCODING_UNKNOWN:
                frame.reason = REASON_UNSUPPORTED_TOPIC
                return
            frame.is_trusted = 1
            if frame.encoding == ENCODING_CHIRPSTACK_JSON and publish.payload.size and publish.payload.at[0] != b"{":
                frame.encoding = ENCODING_CHIRPSTACK_PROTOBUF
            return
        frame.sender = self.intake.index.find(topic.id, topic.id_size)
        frame.scope = topic.scope
        frame.encoding = topic.encoding
        if topic.kind != TOPIC_TELEMETRY:
            frame.reason = REASON_UNSUPPORTED_TOPIC
        elif topic.encoding == ENCODING_DEFAULT and publish.content_type.size:
            frame.encoding = encoding_of_content_type(publish.content_type.at, publish.content_type.size)

    cdef ReasonCode resolve_alias(self, Publish* publish) noexcept:
        """Section 3.3.2.3.4: a topic with an alias defines it, an alias alone stands for its topic."""
        cdef Span* alias
        cdef unsigned char* copy
        if publish.topic_alias > LINK_TOPIC_ALIASES:
            return RC_TOPIC_ALIAS_INVALID
        if self.aliases == NULL:
            self.aliases = <Span*>calloc(LINK_TOPIC_ALIASES + 1, sizeof(Span))
            if self.aliases == NULL:
                return RC_IMPLEMENTATION_ERROR
        alias = &self.aliases[publish.topic_alias]
        if publish.topic.size == 0:
            if alias.at == NULL:
                return RC_PROTOCOL_ERROR
            publish.topic = alias[0]
            return RC_SUCCESS
        copy = <unsigned char*>malloc(publish.topic.size)
        if copy == NULL:
            return RC_IMPLEMENTATION_ERROR
        memcpy(copy, publish.topic.at, publish.topic.size)
        free(<void*>alias.at)
        alias.at = copy
        alias.size = publish.topic.size
        return RC_SUCCESS

    cdef int on_connack(self, Packet* packet) except -1:
        cdef Connack connack
        cdef ReasonCode code = read_connack(packet.body, packet.size, self.version, &connack)
        if code != RC_SUCCESS:
            return code
        if connack.reason:
            self.end("refused", connack.reason, told(&connack.reason_string, &connack.server_reference))
            return RC_SUCCESS
        self.state = LINK_SUBSCRIBING
        self.window = 65_535
        self.max_packet_bytes = 268_435_455
        self.max_qos = 2
        if has(&connack.properties, P_RECEIVE_MAXIMUM):
            self.window = <unsigned short>connack.properties.numbers[P_RECEIVE_MAXIMUM]
        if has(&connack.properties, P_MAXIMUM_PACKET_SIZE):
            self.max_packet_bytes = connack.properties.numbers[P_MAXIMUM_PACKET_SIZE]
        if has(&connack.properties, P_MAXIMUM_QOS):
            self.max_qos = <unsigned char>connack.properties.numbers[P_MAXIMUM_QOS]
        if has(&connack.properties, P_SERVER_KEEP_ALIVE) and connack.properties.numbers[P_SERVER_KEEP_ALIVE]:
            self.keep_alive_s = min(self.keep_alive_s, <double>connack.properties.numbers[P_SERVER_KEEP_ALIVE])
        self.is_session_present = connack.is_session_present
        if not self.is_session_present:
            self.session_generation = self.generation
            if self.handshakes != NULL:
                memset(self.handshakes, HANDSHAKE_NONE, 65_536)
        if has(&connack.properties, P_SHARED_SUBSCRIPTION_AVAILABLE) \
                and not connack.properties.numbers[P_SHARED_SUBSCRIPTION_AVAILABLE] \
                and any(text.startswith(b"$share/") for text, _ in self.filters):
            return self.leave("not_subscribed", RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, b"")
        self.resend()
        if self.is_session_present and self.stale_filters:
            self.say(request.unsubscribe(self.version, UNSUBSCRIBE_ID, self.stale_filters))
        return self.say(request.subscribe(self.version, SUBSCRIBE_ID, self.filters))

    cdef int on_suback(self, Packet* packet) except -1:
        cdef Suback suback
        cdef bytes reasons
        cdef ReasonCode code = read_suback(packet.body, packet.size, packet.header.type, self.version, &suback)
        if code != RC_SUCCESS or packet.header.type == UNSUBACK:
            return code
        reasons = suback.reasons.at[:suback.reasons.size] if suback.reasons.size else b""
        if suback.packet_id != SUBSCRIBE_ID or self.state != LINK_SUBSCRIBING or len(reasons) != len(self.filters):
            return RC_PROTOCOL_ERROR
        if min(reasons) >= 0x80:
            return self.leave("not_subscribed", reasons[0], told(&suback.reason_string, NULL))
        self.state = LINK_OPEN
        if not self.opened.done():
            self.opened.set_result(reasons)
        return RC_SUCCESS

    cdef int on_puback(self, Packet* packet) except -1:
        cdef Ack ack
        cdef ReasonCode code = read_ack(packet.body, packet.size, self.version, &ack)
        if code == RC_SUCCESS:
            if ack.reason >= 0x80:
                self.publish_refused += 1
            self.pending.pop(ack.packet_id, None)
        return code

    cdef int on_pubrel(self, Packet* packet) except -1:
        cdef Ack ack
        cdef ReasonCode code = read_ack(packet.body, packet.size, self.version, &ack)
        cdef unsigned char known
        if code != RC_SUCCESS:
            return code
        known = HANDSHAKE_NONE if self.handshakes == NULL else self.handshakes[ack.packet_id]
        if known == HANDSHAKE_TAKEN:
            return RC_PROTOCOL_ERROR        # we have not sent the PUBREC that it answers
        if known == HANDSHAKE_DURABLE:
            self.handshakes[ack.packet_id] = HANDSHAKE_NONE
        return self.put(PUBCOMP, ack.packet_id, 0 if known or self.version != VERSION_5 else RC_PACKET_ID_NOT_FOUND)

    # Answers

    cdef int put(self, unsigned char type, unsigned short packet_id, unsigned char reason) except -1:
        cdef size_t room
        cdef void* grown
        if self.out_size + 5 > self.out_capacity:
            room = max(2 * self.out_capacity, <size_t>4096)
            grown = realloc(self.out, room)
            if grown == NULL:
                raise MemoryError
            self.out = <unsigned char*>grown
            self.out_capacity = room
        self.out[self.out_size] = type << 4
        self.out[self.out_size + 1] = 3 if reason else 2
        self.out[self.out_size + 2] = packet_id >> 8
        self.out[self.out_size + 3] = packet_id & 255
        self.out_size += 4
        if reason:
            self.out[self.out_size] = reason
            self.out_size += 1
        return 0

    cdef int settle(self, AckDue* due) except -1:
        if due.type == PUBREC and due.generation >= self.session_generation \
                and self.handshakes[due.packet_id] == HANDSHAKE_TAKEN:
            self.handshakes[due.packet_id] = HANDSHAKE_DURABLE
        if due.generation != self.generation or not LINK_SUBSCRIBING <= self.state <= LINK_OPEN:
            self.intake.acks_gone += 1      # of a connection that has ended: the broker sends the message again
            return 0
        self.unacked -= 1
        self.acks_sent += 1
        return self.put(due.type, due.packet_id, 0)

    cdef int say_gathered(self) except -1:
        cdef size_t size = self.out_size
        if size:
            self.out_size = 0
            self.say(PyBytes_FromStringAndSize(<char*>self.out, <Py_ssize_t>size))
        return 0

    cdef int say(self, bytes data) except -1:
        if self.transport is not None and self.state < LINK_LEAVING:
            self.transport.write(data)
        return 0

    cdef int leave(self, str cause, int code, bytes detail) except -1:
        """End the connection and tell the broker why, if its protocol has a word for it."""
        if self.state == LINK_IDLE or self.state == LINK_LEAVING:
            return 0
        self.say_gathered()
        if self.state != LINK_CONNECTING:
            # 0x9E and others of a refused SUBSCRIBE are the broker's words, not ours.
            self.say(request.disconnect(self.version, code if 0x81 <= code <= 0x83 or 0x94 <= code <= 0x95 else 0))
        return self.end(cause, code, detail, True)

    cdef int end(self, str cause, int code, bytes detail, bint may_linger=False) except -1:
        self.ending = (cause, code, detail)
        self.state = LINK_LEAVING
        self.is_reading = self.is_resting = False
        self.left_s = self.intake.loop.time()
        if may_linger and self.may_rest:
            # Closing at once, with bytes unread, would reset the connection and take our last word back.
            try:
                self.transport.write_eof()
                self.transport.resume_reading()
                return 0
            except (OSError, RuntimeError):
                pass
        self.transport.close()
        return 0

    cdef int expire(self, str cause) except -1:
        """The connection is dead, or might as well be: nothing more is said on it."""
        self.end(cause, 0, b"")
        self.transport.abort()
        return 0

    def close(self) -> None:
        """Leave in order; the session and what is in it stay with the broker until it expires."""
        self.leave("closed", 0, b"")

    # Time

    cdef int watch(self, double now_s) except -1:
        if self.state == LINK_IDLE:
            return 0
        if self.state == LINK_LEAVING:
            if now_s - self.left_s > LEAVING_S:
                self.transport.abort()
            return 0
        if now_s - self.pinged_s >= self.keep_alive_s / 2 and self.state != LINK_CONNECTING \
                and (self.ping_sent_s == 0 or self.intake.is_paused):
            self.say(b"\xc0\x00")
            self.pinged_s = now_s
            if self.ping_sent_s == 0:
                self.ping_sent_s = now_s
        if self.blocked_s and now_s - self.blocked_s > BLOCKED_S:
            return self.expire("writes_stalled")
        if self.ack_timeout_s and self.intake.waiting_s(self, now_s) > self.ack_timeout_s:
            return self.expire("acks_stalled")
        if self.intake.is_paused or self.intake.is_stopped:
            return 0                        # we do not read, so the silence is ours
        if self.state != LINK_OPEN:
            return self.expire("timeout") if now_s - self.began_s > self.connect_timeout_s else 0
        if self.ping_sent_s and now_s - self.ping_sent_s > max(1.0, self.keep_alive_s / 2):
            return self.expire("no_pingresp")
        if self.stall_s and self.has_received and now_s - self.message_s > self.stall_s:
            return self.expire("stalled")
        return 0

    cdef int waited(self, double now_s) except -1:
        self.began_s = self.message_s = now_s
        if self.ping_sent_s:
            self.ping_sent_s = now_s
        return 0

    # Messages to the broker

    def publish(self, bytes topic not None, bytes payload not None, int qos, bint retain=False) -> None:
        """Send a message at QoS 0 or 1; a QoS 1 message is sent again on the next connection until it is acknowledged.

        Raises: ConnectionError if the connection is not open, the broker does not read, or too many messages are
            unacknowledged; ValueError for another QoS, or a message larger than the broker takes.
        """
        if qos != 0 and qos != 1:
            raise ValueError("QoS 0 or 1")
        if self.state != LINK_OPEN or self.blocked_s:
            raise ConnectionError("not connected to the broker")
        if len(topic) > 65_535 or len(topic) + len(payload) + 16 > self.max_packet_bytes:
            raise ValueError("larger than the broker takes")
        qos = min(qos, self.max_qos)
        if qos:
            if len(self.pending) >= min(self.window, LINK_OUTBOUND):
                raise ConnectionError("too many unacknowledged messages to the broker")
            while True:
                self.last_packet_id = self.last_packet_id % LAST_PUBLISH_ID + 1
                if self.last_packet_id not in self.pending:
                    break
            self.pending[self.last_packet_id] = (topic, payload, retain)
        self.published += 1
        self.say(request.publish(self.version, topic, payload, qos, retain, False, self.last_packet_id))

    cdef int resend(self) except -1:
        """What was not acknowledged on the connection before: in its order, [MQTT-4.4.0-1]."""
        cdef int sent = 0
        for packet_id, (topic, payload, retain) in list(self.pending.items()):
            if self.max_qos == 0 or sent >= self.window or len(topic) + len(payload) + 16 > self.max_packet_bytes:
                del self.pending[packet_id]
                self.publish_refused += 1
                continue
            sent += 1
            self.say(request.publish(self.version, topic, payload, 1, retain, self.is_session_present, packet_id))
        return 0

    # What is to be known outside

    @property
    def is_open(self) -> bool:
        return self.state == LINK_OPEN

    @property
    def had_session(self) -> bool:
        """Whether the broker still had our session at the last connect."""
        return self.is_session_present

    def counters(self) -> dict:
        """Counts over all connections of this link."""
        return {
            "messages.qos0": self.messages[0], "messages.qos1": self.messages[1], "messages.qos2": self.messages[2],
            "bytes": self.bytes_received, "acks": self.acks_sent, "duplicates": self.duplicates,
            "repeats": self.repeats, "retained": self.retained, "oversized": self.oversized,
            "published": self.published, "publish_refused": self.publish_refused,
        }

    def gauges(self) -> dict:
        """What is now; ages in seconds, of the last message -1 if none came on this connection."""
        cdef double now_s = self.intake.loop.time()
        return {
            "open": int(self.state == LINK_OPEN),
            "connected": int(self.state != LINK_IDLE),
            "in_flight": self.unacked,
            "in_flight_age_s": self.intake.waiting_s(self, now_s),
            "last_message_age_s": now_s - self.message_s if self.has_received else -1.0,
            "unacknowledged_publishes": len(self.pending),
        }


cdef bytes told(Span* reason_string, Span* server_reference):
    """What the broker said, at most 300 bytes of each."""
    cdef bytes text = reason_string.at[:min(reason_string.size, 300)] if reason_string.size else b""
    if server_reference != NULL and server_reference.size:
        text += b" server reference: " + server_reference.at[:min(server_reference.size, 300)]
    return text


cdef ReasonCode salvage(Packet* packet, Publish* out) noexcept:
    """Topic and packet id of a PUBLISH of which too much is missing: it must be acknowledged, or it comes for ever."""
    cdef Cursor c
    c.at = packet.body
    c.end = packet.body + packet.size
    out.qos = (packet.header.flags >> 1) & 3
    out.is_retained = packet.header.flags & 1
    out.topic_alias = 0
    out.packet_id = 0
    out.content_type.size = 0
    if read_prefixed(&c, &out.topic) != STEP_OK:
        return RC_MALFORMED_PACKET
    if out.qos and (read_u16(&c, &out.packet_id) != STEP_OK or out.packet_id == 0):
        return RC_MALFORMED_PACKET
    out.payload.at = c.at
    out.payload.size = <size_t>(c.end - c.at)
    return RC_SUCCESS
