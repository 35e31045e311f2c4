# cython: language_level=3
"""One MQTT client: an asyncio.BufferedProtocol for uvloop that puts PUBLISH packets into the hub's chunk.

No Python object is made for a PUBLISH. All connections of a hub share one read buffer: uvloop calls get_buffer,
read(2) and buffer_updated back to back, so it holds one connection's bytes at a time.

What it does with each kind of packet is in its base classes, in the order in which they rest on each other: framing,
identity, publishing, subscribing, connecting.
"""

from ext.mqtt cimport reply
from ext.mqtt.hub cimport STATE_AWAIT_CONNECT, STATE_LEAVING, Hub
from ext.mqtt.packet cimport (
    CONNECT, DISCONNECT, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, Ack, read_ack,
    read_disconnect,
)
from ext.mqtt.packet_ids cimport remove_id
from ext.mqtt.properties cimport P_SESSION_EXPIRY, has
from ext.mqtt.reason cimport RC_MALFORMED_PACKET, RC_PACKET_ID_NOT_FOUND, RC_PROTOCOL_ERROR, RC_SUCCESS
from ext.mqtt.session cimport Session
from ext.telemetry.device_states cimport mark_seen
from ext.telemetry.quota cimport monotonic_s


cdef class Connection(Entrant):
    """The protocol of one socket; uvloop calls its methods."""

    def __cinit__(self, Hub hub not None):
        self.hub = hub

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

    # Packets

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
