# cython: language_level=3
"""What one session is owed at QoS 1 and 2: messages under way, those that wait, and retained ones still to be told.

Nothing is dropped once it is taken, but for its expiry. What finds the queue full is refused and counted: the newest.
"""

from collections import deque

from ext.mqtt cimport reply
from ext.mqtt.message cimport DUP, RETAIN, Message, encode_publish
from ext.mqtt.packet cimport PUBREL, VERSION_5
from ext.mqtt.reason cimport RC_PACKET_ID_NOT_FOUND, RC_SUCCESS

cdef enum:
    MAX_INFLIGHT = 32_768       # also counts what earlier connections left unfinished: there is always a free packet id


cdef class Link:
    cdef int say(self, bytes data) except -1:
        raise NotImplementedError

    cdef bint is_blocked(self) noexcept:
        return True


cdef Delivery new_delivery(Message message, int qos, bint is_retained, tuple identifiers, object group):
    cdef Delivery delivery = Delivery.__new__(Delivery)
    delivery.message = message
    delivery.qos = <unsigned char>qos
    delivery.is_retained = is_retained
    delivery.identifiers = identifiers
    delivery.group = group
    return delivery


cdef bint transmit(Link link, Message message, int qos, int flags, unsigned short packet_id,
                   tuple identifiers) except -1:
    """Write one PUBLISH, with a topic alias where the client takes them. False: larger than it takes.

    Not at QoS 2: a client that keeps the packet until PUBREL may look its topic up only then, as MQTT.js does.
    """
    cdef unsigned short alias = 0
    cdef bint names_topic = True
    cdef bytes packet
    if link.alias_maximum and qos < 2 and link.version == VERSION_5:
        if link.aliases_out is None:
            link.aliases_out = {}
        if message.topic in link.aliases_out:
            alias = link.aliases_out[message.topic]
            names_topic = False
        elif <size_t>len(link.aliases_out) < link.alias_maximum:
            alias = <unsigned short>(len(link.aliases_out) + 1)
    packet = encode_publish(message, link.version, qos, flags, packet_id, alias, names_topic, identifiers)
    if alias and names_topic:
        if <size_t>len(packet) > link.max_packet_bytes:
            packet = encode_publish(message, link.version, qos, flags, packet_id, 0, True, identifiers)
        else:
            link.aliases_out[message.topic] = alias
    if <size_t>len(packet) > link.max_packet_bytes:
        return False
    link.say(packet)
    return True


cdef int send_once(Traffic traffic, Link link, Message message, bint is_retained, tuple identifiers) except -1:
    if link.is_blocked():
        traffic.refused += 1
        return 0
    if not transmit(link, message, 0, RETAIN if is_retained else 0, 0, identifiers):
        traffic.too_large += 1
        return 0
    traffic.deliveries += 1
    return 1


cdef class Outbox:
    def __cinit__(self, Traffic traffic not None):
        self.traffic = traffic
        self.inflight = {}
        self.queue = deque()
        self.resend = deque()

    cdef bint is_full(self, Link link) noexcept:
        return self.outstanding >= link.window or len(self.inflight) >= MAX_INFLIGHT

    cdef int give(self, Link link, Delivery delivery) except -1:
        """Send it, or keep it until the client can take it. Returns 1 unless it was refused."""
        if (link is None or self.queue or self.resend or self.due is not None
                or self.is_full(link) or link.is_blocked()):
            return self.keep(delivery)
        if not self.has_room(delivery):
            self.traffic.refused += 1
            return 0
        self.charge(delivery)
        return self.send(link, delivery, 0)

    cdef int keep(self, Delivery delivery) except -1:
        cdef Traffic traffic = self.traffic
        if <size_t>len(self.queue) >= traffic.queue_messages or not self.has_room(delivery):
            traffic.refused += 1
            return 0
        self.charge(delivery)
        self.queue.append(delivery)
        traffic.queued += 1
        return 1

    # A message is held from here until the client has acknowledged it, so its bytes count as long.

    cdef bint has_room(self, Delivery delivery) noexcept:
        cdef size_t size = delivery.message.size_bytes()
        return (self.bytes + size <= self.traffic.queue_bytes
                and self.traffic.queued_bytes + size <= self.traffic.total_queue_bytes)

    cdef void charge(self, Delivery delivery) noexcept:
        delivery.bytes = delivery.message.size_bytes()
        self.bytes += delivery.bytes
        self.traffic.queued_bytes += delivery.bytes

    cdef void discharge(self, Delivery delivery) noexcept:
        self.bytes -= delivery.bytes
        self.traffic.queued_bytes -= delivery.bytes
        delivery.bytes = 0

    cdef int owe(self, RetainedBatch batch) except -1:
        if self.due is None:
            self.due = deque()
        self.due.append(batch)
        return 0

    cdef unsigned short next_packet_id(self) except 0:
        while True:
            self.last_packet_id = self.last_packet_id % 65_535 + 1
            if self.last_packet_id not in self.inflight:
                return self.last_packet_id

    cdef int send(self, Link link, Delivery delivery, int flags) except -1:
        """Returns 0 for what is too large for this client, which then counts as delivered: [MQTT-3.1.2-25]."""
        if delivery.packet_id == 0:
            delivery.packet_id = self.next_packet_id()
            self.inflight[delivery.packet_id] = delivery
            self.traffic.deliveries += 1
        if delivery.is_retained:
            flags |= RETAIN
        if not transmit(link, delivery.message, delivery.qos, flags, delivery.packet_id, delivery.identifiers):
            self.traffic.too_large += 1
            self.discharge(delivery)
            del self.inflight[delivery.packet_id]
            return 0
        delivery.is_counted = True
        self.outstanding += 1
        return 1

    cdef int resume(self, Link link) except -1:
        """A new connection: [MQTT-4.4.0-1]. PUBRELs go at once, messages as its Receive Maximum lets them."""
        cdef Delivery delivery
        self.outstanding = 0
        self.resend.clear()
        for delivery in self.inflight.values():
            delivery.is_counted = False
            if delivery.is_released:
                link.say(reply.ack(link.version, PUBREL, delivery.packet_id, RC_SUCCESS))
            else:
                self.resend.append(delivery)
        return self.pump(link)

    cdef int pump(self, Link link) except -1:
        """Send what waits, as far as the client takes it."""
        cdef Delivery delivery
        cdef RetainedBatch batch
        cdef Message message
        while not link.is_blocked():
            if self.resend:
                if self.outstanding >= link.window:
                    return 0
                self.send(link, self.resend.popleft(), DUP)
            elif self.due is not None:
                batch = self.due[0]
                if batch.at >= <size_t>len(batch.messages):
                    self.due.popleft()
                    if not self.due:
                        self.due = None
                    continue
                if batch.qos and self.is_full(link):
                    return 0
                message = batch.messages[batch.at]
                batch.at += 1
                if not message.is_stored or message.is_expired():
                    continue            # replaced meanwhile: the newer one has been delivered already
                if batch.qos and message.qos:
                    delivery = new_delivery(message, min(batch.qos, message.qos), True, batch.identifiers, None)
                    if self.inflight and not self.has_room(delivery):
                        batch.at -= 1
                        return 0
                    self.charge(delivery)
                    self.send(link, delivery, 0)
                else:
                    send_once(self.traffic, link, message, True, batch.identifiers)
            elif self.queue:
                if self.is_full(link):
                    return 0
                delivery = self.queue.popleft()
                if delivery.message.is_expired():
                    self.discharge(delivery)
                    self.traffic.expired += 1
                    continue
                self.send(link, delivery, 0)
            else:
                return 0
        return 0

    cdef int finish(self, Link link, Delivery delivery) except -1:
        del self.inflight[delivery.packet_id]
        self.discharge(delivery)
        if delivery.is_counted:
            self.outstanding -= 1
        return self.pump(link)

    cdef int on_puback(self, Link link, unsigned short packet_id) except -1:
        cdef Delivery delivery = self.inflight.get(packet_id)
        if delivery is None or delivery.qos != 1 or not delivery.is_counted:
            return 0
        return self.finish(link, delivery)

    cdef int on_pubrec(self, Link link, unsigned short packet_id, unsigned char reason) except -1:
        cdef Delivery delivery = self.inflight.get(packet_id)
        if delivery is None or delivery.qos != 2:
            if reason < 0x80:
                link.say(reply.ack(link.version, PUBREL, packet_id, RC_PACKET_ID_NOT_FOUND))
            return 0
        if reason >= 0x80:                  # [MQTT-4.4.0-2]
            return self.finish(link, delivery)
        delivery.is_released = True
        self.discharge(delivery)
        delivery.message = None
        return link.say(reply.ack(link.version, PUBREL, packet_id, RC_SUCCESS))

    cdef int on_pubcomp(self, Link link, unsigned short packet_id) except -1:
        cdef Delivery delivery = self.inflight.get(packet_id)
        if delivery is None or not delivery.is_released:
            return 0
        return self.finish(link, delivery)

    cdef list drop(self):
        """The session ends. Returns the QoS 1 messages that another member of a shared subscription may still take."""
        cdef Delivery delivery
        orphans = [
            delivery for delivery in [*self.inflight.values(), *self.queue]
            if delivery.group is not None and (delivery.qos == 1 or delivery.packet_id == 0)
        ]
        self.traffic.queued_bytes -= self.bytes
        self.bytes = 0
        self.queue.clear()
        self.resend.clear()
        self.inflight.clear()
        self.due = None
        return orphans
