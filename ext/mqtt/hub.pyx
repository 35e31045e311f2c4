# cython: language_level=3
"""What all connections of one MQTT endpoint share: slots, the chunk being gathered, acknowledgements, time.

An `ack_ref` is connection slot << 32 | generation << 16 | packet id, and 0 at QoS 0; the highest bit is QoS 2.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from ext.mqtt cimport reply
from ext.mqtt.handover cimport pack_session, unpack_session
from ext.mqtt.message cimport NEVER, Message, expiry_of, new_message
from ext.mqtt.outbox cimport Link
from ext.mqtt.packet cimport PUBACK, PUBREC, VERSION_5
from ext.mqtt.packet_ids cimport remove_id
from ext.mqtt.reason cimport RC_KEEP_ALIVE_TIMEOUT, RC_QUOTA_EXCEEDED, RC_SESSION_TAKEN_OVER
from ext.mqtt.router cimport Router
from ext.mqtt.session cimport Session, Will
from ext.telemetry.device_states cimport END_LOST, DeviceStates
from ext.telemetry.frames cimport SCOPE_DEVICE, Frame
from ext.telemetry.quota cimport Quota
from ext.telemetry.topic cimport TOPIC_OTHER, Topic, parse_topic

cdef enum:
    LEAVING_TICKS = 8           # a client has 2 s to take our last word
    BLOCKED_TICKS = 40          # and 10 s to begin reading again
    WRITE_LIMIT_BYTES = 65_536
    LOGS_A_TICK = 3
    SPARE_SOCKETS = 1_024       # above max_connections: they are told so in a CONNACK; above these they are closed

ACK_QOS_2 = <unsigned long long>1 << 63

# Counters that say how many there are now.
NOW = frozenset({
    "connections", "sockets", "sessions", "subscriptions", "retained", "retained_bytes", "queued_bytes",
    "partial_bytes",
})

# Who is held back: pause(), resume(), refuse(). Bits.
GATEWAYS = TRAFFIC_GATEWAYS
DEVICES = TRAFFIC_DEVICES
EVERYBODY = TRAFFIC_ALL

# What a downlink topic has behind cf/v1/d/{id}/.
DOWNLINKS = frozenset({b"commands", b"config", b"firmware"})

REASON_NAMES = {
    0x80: "unspecified_error", 0x81: "malformed_packet", 0x82: "protocol_error", 0x83: "implementation_error",
    0x87: "not_authorized", 0x8B: "server_shutting_down", 0x8D: "keep_alive_timeout", 0x8E: "session_taken_over",
    0x90: "topic_name_invalid", 0x93: "receive_maximum_exceeded", 0x94: "topic_alias_invalid",
    0x95: "packet_too_large", 0x97: "quota", 0x98: "administrative_action", 0x99: "payload_format_invalid",
}


cdef void* grow(void* room, size_t size) except NULL:
    cdef void* grown = realloc(room, size)
    if grown == NULL:
        raise MemoryError
    return grown


cdef class PublishChunk(FrameChunk):
    """A chunk that also knows which messages between its frames were answered without one: acks keep their order."""

    def __dealloc__(self):
        free(self.refusals)

    cdef int refuse(self, unsigned long long ack_ref, unsigned char reason) except -1:
        cdef size_t room
        if self.refusal_count == self.refusal_capacity:
            room = max(self.refusal_capacity * 2, <size_t>16)
            self.refusals = <Refusal*>grow(self.refusals, room * sizeof(Refusal))
            self.refusal_capacity = room
        self.refusals[self.refusal_count] = Refusal(self.count, ack_ref, reason)
        self.refusal_count += 1
        return 0

    def as_tuples(self) -> list:
        """(topic, payload, sender, encoding, scope, reason) of every frame: for tests."""
        frames = []
        for i in range(self.count):
            frames.append((
                self.data[self.frames[i].topic_at : self.frames[i].topic_at + self.frames[i].topic_size],
                self.data[self.frames[i].payload_at : self.frames[i].payload_at + self.frames[i].payload_size],
                self.frames[i].sender, self.frames[i].encoding, self.frames[i].scope, self.frames[i].reason,
            ))
        return frames


cdef class Peer(Link):
    """One client as the hub sees it."""

    def __cinit__(self):
        self.slot = 0
        self.device = -1
        self.state = STATE_AWAIT_CONNECT
        self.traffic = TRAFFIC_DEVICES
        self.parting = END_LOST

    cdef bint is_held(self) noexcept:
        # Who has not said who it is may do so; what it can make us keep until then is bounded.
        return self.hub.is_stopped or self.state == STATE_OPEN and (
            self.hub.paused & self.traffic != 0 or self.hub.slots[self.slot].quota_tick != 0
        )

    cdef int forget(self) noexcept:
        return 0

    cdef bint is_blocked(self) noexcept:
        return self.hub.slots[self.slot].blocked_tick != 0

    cdef int say(self, bytes data) except -1:
        """Write, while the connection is open; a client that has gone hears nothing."""
        if self.state < STATE_LEAVING and data:
            self.transport.write(data)
        return 0

    cdef int leave(self, int reason) except -1:
        """Close with a reason, which MQTT 5 clients are told, and take the device's other connections as they are."""
        if self.state >= STATE_LEAVING:
            return 0
        self.hub.closed[reason & 255] += 1
        self.parting = <unsigned char>reason
        if self.state == STATE_OPEN and self.version == VERSION_5:
            self.say(reply.disconnect(<unsigned char>reason, self.max_packet_bytes))
        return self.hang_up()

    cdef int hang_up(self) except -1:
        """End our half. Closing at once, with bytes unread, would reset the connection and take our last word back."""
        cdef Slot* slot = &self.hub.slots[self.slot]
        if self.state >= STATE_LEAVING:
            return 0
        slot.seen_tick = self.hub.now_tick
        slot.allowed_ticks = LEAVING_TICKS
        self.hub.withdraw(self)
        self.state = STATE_LEAVING
        try:
            if self.transport.can_write_eof():
                self.transport.write_eof()
                self.transport.resume_reading()
            else:
                self.transport.close()      # TLS has no half: uvloop says good-bye and reads on until the client does
        except (OSError, RuntimeError):
            self.transport.abort()
        return 0


cdef class Hub:
    """One per endpoint and event loop; not thread-safe."""

    def __cinit__(self, DeviceIndex index not None, object sink, object loop, double gather_ms, *, int max_packet_bytes,
                  int max_connections, int receive_maximum, double connect_timeout_s, int max_keep_alive_s,
                  object on_refused=None, size_t max_sessions=100_000, unsigned int max_session_expiry_s=86_400,
                  size_t max_subscriptions=1_000, size_t max_retained=100_000, size_t max_retained_bytes=64_000_000,
                  size_t max_retained_of_device=1_000,
                  size_t queue_messages=1_000, size_t queue_bytes=1_000_000, size_t total_queue_bytes=256_000_000,
                  int outbound_window=1_024, int topic_aliases_out=32, Quota quota=None,
                  size_t max_partial_bytes=64_000_000, DeviceStates states=None):
        self.states = states
        self.index = index
        self.sink = sink
        self.loop = loop
        self.on_refused = on_refused
        self.quota = quota if quota is not None else Quota(index, (0, 0, 0), (0, 0, 0))
        self.max_partial_bytes = max_partial_bytes
        self.gather_s = gather_ms / 1000
        self.max_packet_bytes = max_packet_bytes
        self.max_connections = max_connections
        self.receive_maximum = max(1, min(receive_maximum, 65_535))
        self.max_keep_alive_s = max(1, min(max_keep_alive_s, 65_535))
        self.outbound_window = <unsigned short>max(1, min(outbound_window, 16_384))
        self.aliases_out = <unsigned short>max(0, min(topic_aliases_out, 65_535))
        self.router = Router(
            index, self.send_will, max_sessions=max_sessions, max_expiry_s=max_session_expiry_s,
            max_subscriptions=max_subscriptions, max_retained=max_retained, max_retained_bytes=max_retained_bytes,
            max_retained_of_device=max_retained_of_device,
            queue_messages=queue_messages, queue_bytes=queue_bytes, total_queue_bytes=total_queue_bytes,
        )
        self.connect_ticks = max(1, <int>(connect_timeout_s * 1000 / TICK_MS))
        self.read_bytes = bytearray(READ_BUFFER_BYTES)
        self.read_view = memoryview(self.read_bytes)
        self.read_at = <unsigned char*>PyByteArray_AS_STRING(self.read_bytes)
        self.free_slots = []
        self.by_owner = {}
        self.connects = {}
        self.slot_count = 1
        self.now_tick = 1
        self.log_budget = LOGS_A_TICK
        self.on_durable = self.acknowledge
        self.chunk = PublishChunk("mqtt", self.on_durable)

    def __dealloc__(self):
        free(self.slots)
        free(self.ack_room)
        free(self.touched)

    # Slots and devices

    cdef int attach(self, Peer peer) except -1:
        cdef int slot
        cdef int room
        if self.free_slots:
            slot = self.free_slots.pop()
        else:
            if self.slot_count >= self.slot_capacity:
                room = max(self.slot_capacity * 2, 1024)
                self.slots = <Slot*>grow(self.slots, room * sizeof(Slot))
                memset(self.slots + self.slot_capacity, 0, (room - self.slot_capacity) * sizeof(Slot))
                self.slot_capacity = room
            slot = self.slot_count
            self.slot_count += 1
        peer.slot = slot
        self.slots[slot].generation += 1
        peer.generation = self.slots[slot].generation
        self.slots[slot].peer = <PyObject*>peer
        self.slots[slot].seen_tick = self.now_tick
        self.slots[slot].allowed_ticks = self.connect_ticks
        self.slots[slot].blocked_tick = self.slots[slot].rest_tick = self.slots[slot].quota_tick = 0
        self.slots[slot].ack_bytes = 0
        self.socket_count += 1
        if self.socket_count > self.max_connections + SPARE_SOCKETS:
            self.count_connect("too_many_sockets")
            peer.state = STATE_LEAVING
            peer.transport.abort()
        return 0

    cdef int detach(self, Peer peer) except -1:
        if peer.slot == 0:
            return 0
        self.withdraw(peer)
        peer.state = STATE_GONE
        self.slots[peer.slot].peer = NULL
        self.free_slots.append(peer.slot)
        peer.slot = 0           # slot 0 is nobody's: its fields may be read, and say nothing
        self.socket_count -= 1
        return 0

    cdef Peer other_of(self, object owner, bytes client_id):
        """The open connection of this client, if there is one."""
        cdef Peer other = self.by_owner.get(owner)
        while other is not None and other.client_id != client_id:
            other = other.next_of_owner
        return other

    cdef int enter(self, Peer peer) except -1:
        """The client is known: an older connection of the same owner and client id is taken over."""
        cdef Peer other = self.other_of(peer.owner, peer.client_id) if peer.client_id else None
        if other is not None:
            other.leave(RC_SESSION_TAKEN_OVER)
        peer.next_of_owner = self.by_owner.get(peer.owner)
        self.by_owner[peer.owner] = peer
        peer.state = STATE_OPEN
        self.open_count += 1
        return 0

    cdef int withdraw(self, Peer peer) except -1:
        cdef Peer at
        cdef Session session
        if peer.state != STATE_OPEN:
            return 0
        peer.state = STATE_LEAVING          # whoever the rest makes us say something to, it is not this one
        self.open_count -= 1
        if peer.is_told:
            peer.is_told = False
            self.states.closed(peer.device, peer.parting)
        at = self.by_owner.get(peer.owner)
        if at is peer:
            if peer.next_of_owner is None:
                del self.by_owner[peer.owner]
            else:
                self.by_owner[peer.owner] = peer.next_of_owner
        else:
            while at is not None and at.next_of_owner is not peer:
                at = at.next_of_owner
            if at is not None:
                at.next_of_owner = peer.next_of_owner
        peer.next_of_owner = None
        session = peer.session
        peer.session = None
        if session is not None:
            self.router.part(session)
        return 0

    # Frames upwards

    cdef long long clock_ms(self) noexcept:
        """When the bytes that are being parsed came; asked once per read."""
        cdef timespec now
        if self.received_ms == 0:
            clock_gettime(CLOCK_REALTIME, &now)
            self.received_ms = <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000
        return self.received_ms

    cdef int gathered(self) except -1:
        """After a read: start the chunk's time with its first frame, hand it on at once when it is large."""
        if self.chunk.size >= CHUNK_BYTES or self.chunk.count >= CHUNK_FRAMES:
            return self.flush()
        if self.flush_timer is None and self.chunk.count:
            self.flush_timer = self.loop.call_later(self.gather_s, self.hand_on)
        return 0

    cdef int flush(self) except -1:
        cdef PublishChunk chunk = self.chunk
        if self.flush_timer is not None:
            self.flush_timer.cancel()
            self.flush_timer = None
        if chunk.count == 0:
            return 0
        self.chunk = PublishChunk("mqtt", self.on_durable)
        self.last_chunk = chunk
        self.chunks += 1
        self.sink(chunk)
        return 0

    def hand_on(self) -> None:
        """Give the current chunk to the sink, if there is anything in it."""
        self.flush()

    cdef int answer_in_order(self, Peer peer, unsigned short packet_id, int qos, unsigned char reason,
                             bint is_repeated) except -1:
        """Acknowledge a message that made no frame, after what this client sent before: [MQTT-4.6.0-2].

        `is_repeated`: a QoS 2 message that we have already; it counts against Receive Maximum once.
        """
        cdef unsigned long long ack_ref
        cdef PublishChunk chunk
        if qos == 0:
            return 0
        if self.chunk.count:
            chunk = self.chunk
        else:
            chunk = self.last_chunk
        # A repeated message may have come first on an earlier connection: it may not be durable yet.
        if chunk is None or (peer.unacked == 0 and not is_repeated):
            if reason >= 0x80:
                self.refused_acks_sent += 1
            else:
                self.acks_sent += 1
                peer.unacked += qos == 2 and not is_repeated
            return peer.say(reply.ack(peer.version, PUBREC if qos == 2 else PUBACK, packet_id, reason))
        ack_ref = <unsigned long long>peer.slot << 32 | <unsigned long long>peer.generation << 16 | packet_id
        if qos == 2:
            ack_ref |= ACK_QOS_2
        peer.unacked += not is_repeated
        return chunk.refuse(ack_ref, reason if peer.version == VERSION_5 else 0)

    cdef Peer peer_of(self, unsigned long long ack_ref):
        """Whose this is: None at QoS 0 and when that connection has gone."""
        cdef unsigned int slot = <unsigned int>(ack_ref >> 32) & 0x7FFFFFFF
        if ack_ref & 0xFFFF == 0 or slot >= <unsigned int>self.slot_count or self.slots[slot].peer == NULL:
            return None
        if self.slots[slot].generation != <unsigned short>(ack_ref >> 16):
            return None
        return <Peer>self.slots[slot].peer

    cdef unsigned int lay_out(self, unsigned long long ack_ref, unsigned char reason,
                              size_t* touched) except? 0xFFFFFFFF:
        """Reserve room for one PUBACK or PUBREC; the first of a connection puts it on the list of those touched."""
        cdef Peer peer
        cdef Slot* slot
        cdef unsigned int size = 5 if reason else 4
        if ack_ref & 0xFFFF == 0:
            return 0
        peer = self.peer_of(ack_ref)
        if peer is None or peer.state != STATE_OPEN:
            self.acks_gone += 1
            return 0
        slot = &self.slots[peer.slot]
        if slot.ack_bytes == 0:
            self.touched[touched[0]] = peer.slot
            touched[0] += 1
        slot.ack_bytes += size
        if ack_ref & ACK_QOS_2 and peer.session is not None:
            remove_id(&peer.session.unsure, <unsigned short>ack_ref)
        if peer.unacked and (not ack_ref & ACK_QOS_2 or reason >= 0x80):    # else it ends with the PUBCOMP
            peer.unacked -= 1
        return size

    def acknowledge(self, PublishChunk chunk not None) -> None:
        """All frames of the chunk are durable: send their acks, one write for each connection. At most once.

        Call it in the endpoint's event loop. Chunks that become durable out of order have their acks out of order.
        """
        cdef size_t i, refusal = 0, total = 0, count = 0, at = 0
        cdef Slot* slot
        if chunk.is_durable:
            return
        chunk.is_durable = True
        if self.last_chunk is chunk:
            self.last_chunk = None
        if chunk.count + chunk.refusal_count > self.touched_capacity:
            self.touched_capacity = max(2 * self.touched_capacity, chunk.count + chunk.refusal_count)
            self.touched = <int*>grow(self.touched, self.touched_capacity * sizeof(int))
        for i in range(chunk.count):
            total += self.lay_out(chunk.frames[i].ack_ref, 0, &count)
        for i in range(chunk.refusal_count):
            total += self.lay_out(chunk.refusals[i].ack_ref, chunk.refusals[i].reason, &count)
        if total == 0:
            return
        if total > self.ack_room_bytes:
            self.ack_room_bytes = max(2 * self.ack_room_bytes, total)
            self.ack_room = <unsigned char*>grow(self.ack_room, self.ack_room_bytes)
        for i in range(count):
            slot = &self.slots[self.touched[i]]
            slot.ack_at = <unsigned int>at
            at += slot.ack_bytes
        for i in range(chunk.count):
            while refusal < chunk.refusal_count and chunk.refusals[refusal].before <= i:
                self.put_ack(chunk.refusals[refusal].ack_ref, chunk.refusals[refusal].reason)
                refusal += 1
            self.put_ack(chunk.frames[i].ack_ref, 0)
        while refusal < chunk.refusal_count:
            self.put_ack(chunk.refusals[refusal].ack_ref, chunk.refusals[refusal].reason)
            refusal += 1
        for i in range(count):
            self.send_acks(self.touched[i])

    cdef void put_ack(self, unsigned long long ack_ref, unsigned char reason) noexcept:
        cdef unsigned int index = <unsigned int>(ack_ref >> 32) & 0x7FFFFFFF
        cdef Slot* slot
        cdef unsigned char* at
        if ack_ref & 0xFFFF == 0 or index >= <unsigned int>self.slot_count:
            return
        slot = &self.slots[index]
        if slot.ack_bytes == 0 or slot.generation != <unsigned short>(ack_ref >> 16):
            return
        at = self.ack_room + slot.ack_at
        at[0] = 0x40 | <unsigned char>(ack_ref >> 63) << 4
        at[1] = 3 if reason else 2
        at[2] = <unsigned char>(ack_ref >> 8)
        at[3] = <unsigned char>ack_ref
        slot.ack_at += 4
        if reason:
            at[4] = reason
            slot.ack_at += 1
        if reason >= 0x80:
            self.refused_acks_sent += 1
        else:
            self.acks_sent += 1

    cdef int send_acks(self, int index) except -1:
        cdef Slot* slot = &self.slots[index]
        cdef unsigned int size = slot.ack_bytes
        slot.ack_bytes = 0
        if slot.peer != NULL:
            (<Peer>slot.peer).say(
                PyBytes_FromStringAndSize(<char*>self.ack_room + slot.ack_at - size, size)
            )
        return 0

    # Messages downwards

    def deliver(self, bytes device_id not None, bytes topic not None, bytes payload not None, int qos,
                bint retain=False) -> int:
        """Publish a downlink message of a device, in this process only. See MqttEndpoint.deliver."""
        cdef Topic parts
        if parse_topic(topic, len(topic), &parts) != TOPIC_OTHER or parts.scope != SCOPE_DEVICE \
                or parts.id[:parts.id_size] != device_id or topic[9 + parts.id_size:] not in DOWNLINKS:
            raise ValueError(f"not a downlink topic of {device_id!r}: {topic!r}")
        return self.router.publish_here(new_message(topic, payload, b"", qos, retain, NEVER), None, None)

    def publish(self, bytes topic not None, bytes payload not None, int qos=0, bint retain=False,
                bytes properties=b"", expiry_s=None) -> int:
        """Publish a message of the platform's own. See MqttEndpoint.publish."""
        cdef long long expires_ms = NEVER if expiry_s is None else expiry_of(expiry_s)
        return self.router.publish(new_message(topic, payload, properties, qos, retain, expires_ms), None, None)

    def send_will(self, Session session, Will will) -> None:
        """A client has gone without good-bye: its will goes where its other messages would have gone."""
        cdef Message message = will.message
        cdef Frame* frame
        if self.is_stopped:
            return
        self.wills += 1
        if will.sender >= 0:
            frame = self.chunk.append(message.topic, len(message.topic), message.payload, len(message.payload))
            if frame == NULL:
                raise MemoryError
            self.received_ms = 0
            frame.received_ms = self.clock_ms()
            frame.sender = will.sender
            frame.scope = will.scope
            frame.encoding = will.encoding
            frame.reason = will.reason
            self.messages[0] += 1
            self.gathered()
        if will.has_expiry:
            message = new_message(message.topic, message.payload, message.properties, message.qos,
                                  message.is_retained, expiry_of(will.expiry_s))
        self.router.publish(message, session, session.owner if session.device >= 0 else None)

    def kick(self, bytes user_name not None, int reason) -> int:
        """Close all connections of a device or an operator with a reason code. Returns how many there were."""
        cdef int slot = self.index.find(user_name, len(user_name))
        cdef int kicked = 0
        cdef Peer peer
        cdef Peer after
        peer = self.by_owner.get(slot if slot >= 0 else user_name)
        while peer is not None:
            after = peer.next_of_owner
            peer.leave(reason)
            kicked += 1
            peer = after
        return kicked

    # Other worker processes of this node: ingest/workers carries what these say

    def export_session(self, bytes key not None) -> bytes | None:
        """Give a client's session away: it has come back on another worker.

        Args:
            key: user name, a zero byte, client id.
        Returns: the session for import_session() there; None if there is none that outlives its connection. A
            connection that is open ends with 0x8E; its will is sent if it has no delay.
        """
        cdef Session session = self.router.sessions.get(key)
        cdef Peer peer
        cdef bytes data
        user_name, _, client_id = key.partition(b"\0")
        slot = self.index.find(user_name, <size_t>len(user_name))
        peer = self.other_of(slot if slot >= 0 else user_name, client_id)
        if session is not None and session.expiry_s == 0:
            session = None                          # it ends with its connection
        if peer is not None:
            peer.leave(RC_SESSION_TAKEN_OVER)       # parts from its session, which is then one of a client that is away
        if session is None:
            return None
        data = pack_session(session, self.router)
        self.router.release(session)
        return data

    def import_session(self, bytes data not None) -> bool:
        """Take a session that another worker gave away, as that of a client who is away. False: its user is unknown."""
        cdef Session session = unpack_session(data, self.router)
        if session is None:
            return False
        self.router.schedule(session)
        return True

    def set_remote_filters(self, list filters not None) -> None:
        """What is subscribed on other workers, `$share/...` included; each once. Takes the place of the list before."""
        self.router.set_remote_filters(filters)

    def announce(self, on_publish_remote, local_filters_changed) -> None:
        """Begin to tell other workers. Both are called in this loop.

        Args:
            on_publish_remote: (topic, payload, qos, retain, properties, expiry_s or None, is_wanted, groups) for a
                message that others want: `is_wanted` if one of the remote filters without `$share/` matches; `groups`
                are filters `$share/...` of which it is another worker's turn: each is to be given to one worker. With
                `retain` it is for all workers. Never for what came by publish_local() or deliver().
            local_filters_changed: (filters) after the set of filters here has changed, a little later. Those of single
                devices' downlinks are told as `cf/v1/d/+/...`, so that they are few.
        """
        self.router.on_remote = on_publish_remote
        self.on_filters = local_filters_changed
        self.router.on_filters = self.filters_changed
        self.router.announced = {}

    def filters_changed(self) -> None:
        """Tell once for all changes of this turn of the loop."""
        if not self.tells_filters:
            self.tells_filters = True
            self.loop.call_soon(self.tell_filters)

    def tell_filters(self) -> None:
        self.tells_filters = False
        self.on_filters(list(self.router.announced))

    def publish_local(self, bytes topic not None, bytes payload not None, int qos, bint retain, bytes properties=b"",
                      expiry_s=None, bint is_wanted=True, list groups=None) -> int:
        """Deliver what another worker published. Arguments and sense as in announce()."""
        cdef long long expires_ms = NEVER if expiry_s is None else expiry_of(expiry_s)
        return self.router.publish_here(
            new_message(topic, payload, properties, qos, retain, expires_ms), groups or [], is_wanted
        )

    def retained_messages(self) -> list:
        """(topic, payload, qos, properties, expiry_s or None) of all that is retained: for a worker that starts."""
        return self.router.retained.as_tuples()

    # Time and backpressure

    def start(self) -> None:
        """Start the clock of keep-alives and connect timeouts."""
        self.tick_timer = self.loop.call_later(TICK_MS / 1000.0, self.tick)

    def tick(self) -> None:
        """Look at every connection four times a second: cheaper than a timer touched by every packet."""
        cdef int i
        cdef Slot* slot
        cdef Peer peer
        self.tick_timer = self.loop.call_later(TICK_MS / 1000.0, self.tick)
        self.now_tick += 1
        self.log_budget = LOGS_A_TICK
        self.router.tick()
        for i in range(1, self.slot_count):
            slot = &self.slots[i]
            if slot.peer == NULL:
                continue
            if slot.blocked_tick and self.now_tick - slot.blocked_tick > BLOCKED_TICKS:
                self.slow_readers += 1
                (<Peer>slot.peer).transport.abort()
            elif slot.quota_tick and <int>(self.now_tick - slot.quota_tick) >= 0:
                slot.quota_tick = 0
                slot.seen_tick = self.now_tick
                peer = <Peer>slot.peer
                if not slot.blocked_tick and not peer.is_held():
                    peer.transport.resume_reading()
            elif slot.allowed_ticks and self.now_tick - slot.seen_tick > slot.allowed_ticks:
                self.expire(<Peer>slot.peer)

    cdef int expire(self, Peer peer) except -1:
        if peer.state == STATE_LEAVING:
            peer.transport.abort()
        elif peer.is_held():
            return 0            # we do not read, so the silence is ours
        elif peer.state == STATE_OPEN:
            peer.leave(RC_KEEP_ALIVE_TIMEOUT)
        else:
            self.count_connect("timeout")
            peer.transport.abort()
        return 0

    cdef int rest(self, Peer peer, double over_s) noexcept:
        """Do not read this connection for so long: its sender is over its quota."""
        cdef unsigned int ticks = 1 + <unsigned int>(over_s * 1000 / TICK_MS)
        cdef Slot* slot = &self.slots[peer.slot]
        if slot.quota_tick == 0:
            self.quota_rests += 1
        slot.quota_tick = max(1, self.now_tick + ticks)
        return 0

    cdef int relieve(self) except -1:
        """Too much is kept of packets that were begun and not ended: who keeps us waiting longest has to go."""
        cdef int i, oldest
        cdef Peer peer
        while self.partial_bytes > self.max_partial_bytes:
            oldest = 0
            for i in range(1, self.slot_count):
                if self.slots[i].peer != NULL and self.slots[i].rest_tick and (
                    oldest == 0 or self.slots[i].rest_tick < self.slots[oldest].rest_tick
                ):
                    oldest = i
            if oldest == 0:
                return 0
            peer = <Peer>self.slots[oldest].peer
            self.evicted += 1
            self.report("partial_packet", peer.user_name or b"", b"")
            if peer.state == STATE_OPEN:
                peer.leave(RC_QUOTA_EXCEEDED)
            else:
                peer.hang_up()
            peer.forget()
        return 0

    def pause(self, int traffic=TRAFFIC_ALL) -> None:
        """Stop reading GATEWAYS, DEVICES or both. One that comes later is paused after its CONNECT."""
        cdef int i
        cdef Peer peer
        cdef unsigned char added = <unsigned char>(traffic & ~self.paused & TRAFFIC_ALL)
        self.paused |= added
        for i in range(1, self.slot_count if added else 0):
            if self.slots[i].peer != NULL:
                peer = <Peer>self.slots[i].peer
                if peer.traffic & added and peer.state == STATE_OPEN:
                    peer.transport.pause_reading()

    def resume(self, int traffic=TRAFFIC_ALL) -> None:
        """Read them again, except those whose clients do not read our answers or are over their quota."""
        cdef int i
        cdef Peer peer
        cdef unsigned char taken = <unsigned char>(traffic & self.paused)
        if self.is_stopped:
            return
        self.paused &= ~taken
        for i in range(1, self.slot_count if taken else 0):
            if self.slots[i].peer != NULL:
                peer = <Peer>self.slots[i].peer
                if peer.traffic & taken and peer.state == STATE_OPEN:
                    self.slots[i].seen_tick = self.now_tick
                    if not self.slots[i].blocked_tick and not peer.is_held():
                        peer.transport.resume_reading()

    def refuse(self, int traffic) -> None:
        """Let in no more of GATEWAYS, DEVICES or both, until the next call: CONNACK 0x89. Operators are let in."""
        self.refusing = <unsigned char>(traffic & TRAFFIC_ALL)

    def stop_reading(self) -> None:
        """Read no more, for good, and hand on what has been read."""
        cdef int i
        cdef Peer peer
        self.is_stopped = True
        for i in range(1, self.slot_count):
            if self.slots[i].peer != NULL:
                peer = <Peer>self.slots[i].peer
                if peer.state < STATE_LEAVING:
                    peer.transport.pause_reading()
        self.flush()

    def leave_all(self, int reason) -> None:
        """Tell every client why and end our half of its connection."""
        cdef int i
        self.router.is_closing = True       # sessions end with this process, and their wills are not sent
        for i in range(1, self.slot_count):
            if self.slots[i].peer != NULL:
                (<Peer>self.slots[i].peer).leave(reason)

    def abort_all(self) -> None:
        """Close what is left, and stop the clock."""
        cdef int i
        for i in range(1, self.slot_count):
            if self.slots[i].peer != NULL:
                (<Peer>self.slots[i].peer).transport.abort()
        if self.tick_timer is not None:
            self.tick_timer.cancel()
            self.tick_timer = None

    # What is to be known outside

    cdef int report(self, str what, bytes device, bytes detail) except -1:
        if self.on_refused is not None and self.log_budget > 0:
            self.log_budget -= 1
            self.on_refused(what, device, detail)
        return 0

    cdef int count_connect(self, str result) except -1:
        self.connects[result] = self.connects.get(result, 0) + 1
        return 0

    @property
    def sockets(self) -> int:
        return self.socket_count

    @property
    def kept_bytes(self) -> int:
        """Of packets whose end has not come."""
        return self.partial_bytes

    def counters(self) -> dict:
        """Plain numbers since the start, but those of NOW. See MqttEndpoint.counters."""
        cdef Router router = self.router
        counters = {
            "connections": self.open_count,
            "sockets": self.socket_count,
            "messages.qos0": self.messages[0],
            "messages.qos1": self.messages[1],
            "messages.qos2": self.messages[2],
            "messages.plain": self.plain_messages,
            "bytes": self.bytes_received,
            "chunks": self.chunks,
            "acks": self.acks_sent,
            "acks_refused": self.refused_acks_sent,
            "acks_gone": self.acks_gone,
            "deliveries": router.traffic.deliveries,
            "deliveries_queued": router.traffic.queued,
            "deliveries_refused": router.traffic.refused,
            "deliveries_too_large": router.traffic.too_large,
            "deliveries_expired": router.traffic.expired,
            "queued_bytes": router.traffic.queued_bytes,
            "sessions": len(router.sessions),
            "sessions_resumed": router.sessions_resumed,
            "sessions_expired": router.sessions_expired,
            "sessions_refused": router.sessions_refused,
            "subscriptions": router.subscriptions.count,
            "retained": router.retained.count,
            "retained_bytes": router.retained.bytes,
            "retained_refused": router.retained.refused,
            "wills": self.wills,
            "closed.slow_reader": self.slow_readers,
            "partial_evicted": self.evicted,
            "partial_bytes": self.partial_bytes,
            "quota_rests": self.quota_rests,
        }
        for result, count in self.connects.items():
            counters["connects." + result] = count
        for code in range(256):
            name = REASON_NAMES.get(code, f"reason_{code:02x}")
            if self.rejected[code]:
                counters["rejected." + name] = self.rejected[code]
            if self.closed[code]:
                counters["closed." + name] = self.closed[code]
        return counters
