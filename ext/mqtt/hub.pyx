# cython: language_level=3
"""What all connections of one MQTT endpoint share: slots, the chunk being gathered, acknowledgements, deliveries, time.

An `ack_ref` is connection slot << 32 | generation << 16 | packet id, and 0 at QoS 0.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from ext.mqtt cimport reply
from ext.mqtt.filters cimport downlink_kind, forms_of_kind
from ext.mqtt.packet cimport VERSION_5
from ext.mqtt.reason cimport RC_KEEP_ALIVE_TIMEOUT, RC_SESSION_TAKEN_OVER
from ext.telemetry.frames cimport SCOPE_DEVICE
from ext.telemetry.topic cimport TOPIC_OTHER, Topic, parse_topic

cdef enum:
    LEAVING_TICKS = 8           # a client has 2 s to take our last word
    BLOCKED_TICKS = 40          # and 10 s to begin reading again
    WRITE_LIMIT_BYTES = 65_536
    LOGS_A_TICK = 3
    OUTBOUND_WINDOW = 128       # QoS 1 messages under way to one client at most, whatever it offers
    SPARE_SOCKETS = 1_024       # above max_connections: they are told so in a CONNACK; above these they are closed

REASON_NAMES = {
    0x80: "unspecified_error", 0x81: "malformed_packet", 0x82: "protocol_error", 0x83: "implementation_error",
    0x87: "not_authorized", 0x8B: "server_shutting_down", 0x8D: "keep_alive_timeout", 0x8E: "session_taken_over",
    0x90: "topic_name_invalid", 0x93: "receive_maximum_exceeded", 0x94: "topic_alias_invalid",
    0x95: "packet_too_large", 0x98: "administrative_action", 0x99: "payload_format_invalid",
    0x9A: "retain_not_supported", 0x9B: "qos_not_supported", 0xA1: "subscription_identifiers_not_supported",
}


cdef void* grow(void* room, size_t size) except NULL:
    cdef void* grown = realloc(room, size)
    if grown == NULL:
        raise MemoryError
    return grown


cdef class PublishChunk(FrameChunk):
    """A chunk that also knows which messages between its frames were refused, so that PUBACKs keep their order."""

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


cdef class Peer:
    """One client as the hub sees it."""

    def __cinit__(self):
        self.slot = 0
        self.device = -1
        self.state = STATE_AWAIT_CONNECT

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
        if self.state == STATE_OPEN and self.version == VERSION_5:
            self.say(reply.disconnect(<unsigned char>reason, self.max_packet_bytes))
        return self.hang_up()

    cdef int hang_up(self) except -1:
        """End our half. Closing at once, with bytes unread, would reset the connection and take our last word back."""
        cdef Slot* slot = &self.hub.slots[self.slot]
        if self.state >= STATE_LEAVING:
            return 0
        self.hub.withdraw(self)
        self.state = STATE_LEAVING
        slot.seen_tick = self.hub.now_tick
        slot.allowed_ticks = LEAVING_TICKS
        try:
            self.transport.write_eof()
            self.transport.resume_reading()
        except (OSError, RuntimeError):
            self.transport.abort()
        return 0

    cdef int give(self, bytes topic, bytes payload, int qos) except -1:
        """Send one message to this subscriber. Returns 1 if it was sent."""
        cdef bytes data
        if self.state != STATE_OPEN or self.is_blocked():
            return 0
        if qos:
            if self.outbound is None:
                self.outbound = set()
            if len(self.outbound) >= self.window:
                return 0
            while True:
                self.last_packet_id = self.last_packet_id % 65_535 + 1
                if self.last_packet_id not in self.outbound:
                    break
        data = reply.publish(self.version, topic, payload, qos, self.last_packet_id)
        if <size_t>len(data) > self.max_packet_bytes:
            return 0
        if qos:
            self.outbound.add(self.last_packet_id)
        self.say(data)
        return 1


cdef class Hub:
    """One per endpoint and event loop; not thread-safe."""

    def __cinit__(self, DeviceIndex index not None, object sink, object loop, double gather_ms, *, int max_packet_bytes,
                  int max_connections, int receive_maximum, double connect_timeout_s, int max_keep_alive_s,
                  object on_refused=None):
        self.index = index
        self.sink = sink
        self.loop = loop
        self.on_refused = on_refused
        self.gather_s = gather_ms / 1000
        self.max_packet_bytes = max_packet_bytes
        self.max_connections = max_connections
        self.receive_maximum = max(1, min(receive_maximum, 65_535))
        self.max_keep_alive_s = max(1, min(max_keep_alive_s, 65_535))
        self.connect_ticks = max(1, <int>(connect_timeout_s * 1000 / TICK_MS))
        self.read_bytes = bytearray(READ_BUFFER_BYTES)
        self.read_view = memoryview(self.read_bytes)
        self.read_at = <unsigned char*>PyByteArray_AS_STRING(self.read_bytes)
        self.free_slots = []
        self.by_device = {}
        self.child_watchers = {}
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
        self.slots[slot].blocked_tick = 0
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

    cdef int enter(self, Peer peer) except -1:
        """The device is known: an older connection of the same device and client id is taken over."""
        cdef Peer other = self.by_device.get(peer.device)
        cdef Peer after
        while other is not None:
            after = other.next_of_device
            if peer.client_id and other.client_id == peer.client_id:
                other.leave(RC_SESSION_TAKEN_OVER)
            other = after
        peer.next_of_device = self.by_device.get(peer.device)
        self.by_device[peer.device] = peer
        peer.state = STATE_OPEN
        self.open_count += 1
        return 0

    cdef int withdraw(self, Peer peer) except -1:
        cdef Peer at
        if peer.state != STATE_OPEN:
            return 0
        self.open_count -= 1
        at = self.by_device.get(peer.device)
        if at is peer:
            if peer.next_of_device is None:
                del self.by_device[peer.device]
            else:
                self.by_device[peer.device] = peer.next_of_device
        else:
            while at is not None and at.next_of_device is not peer:
                at = at.next_of_device
            if at is not None:
                at.next_of_device = peer.next_of_device
        peer.next_of_device = None
        if peer.child_forms:
            for child in list(peer.child_forms):
                self.forget_watcher(child, peer)
            peer.child_forms = None
        return 0

    def forget_watcher(self, child, peer) -> None:
        watchers = self.child_watchers[child]
        watchers.remove(peer)
        if not watchers:
            del self.child_watchers[child]

    cdef int watch_child(self, Peer peer, int child, int form, int qos) except -1:
        cdef int forms = 0, forms_qos1 = 0
        if peer.child_forms is None:
            peer.child_forms = {}
        if child in peer.child_forms:
            forms, forms_qos1 = peer.child_forms[child]
        else:
            self.child_watchers.setdefault(child, []).append(peer)
        forms |= 1 << form
        forms_qos1 = forms_qos1 | 1 << form if qos else forms_qos1 & ~(1 << form)
        peer.child_forms[child] = (forms, forms_qos1)
        return 0

    cdef bint unwatch_child(self, Peer peer, int child, int form) except -1:
        cdef int forms, forms_qos1
        if peer.child_forms is None or child not in peer.child_forms:
            return False
        forms, forms_qos1 = peer.child_forms[child]
        if not forms >> form & 1:
            return False
        forms &= ~(1 << form)
        if forms:
            peer.child_forms[child] = (forms, forms_qos1 & forms)
        else:
            del peer.child_forms[child]
            self.forget_watcher(child, peer)
        return True

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

    cdef int refuse_in_order(self, Peer peer, unsigned short packet_id, unsigned char reason) except -1:
        """PUBACK with a reason, after the PUBACKs of what this client sent before: [MQTT-4.6.0-2]."""
        cdef unsigned long long ack_ref
        cdef PublishChunk chunk
        ack_ref = <unsigned long long>peer.slot << 32 | <unsigned long long>peer.generation << 16 | packet_id
        if self.chunk.count:
            chunk = self.chunk
        else:
            chunk = self.last_chunk
        if peer.unacked == 0 or chunk is None:
            self.refused_acks_sent += 1
            return peer.say(bytes((0x40, 3, packet_id >> 8, packet_id & 255, reason)))
        peer.unacked += 1
        return chunk.refuse(ack_ref, reason)

    cdef Peer peer_of(self, unsigned long long ack_ref):
        """Whose this is: None at QoS 0 and when that connection has gone."""
        cdef unsigned int slot = <unsigned int>(ack_ref >> 32)
        if ack_ref & 0xFFFF == 0 or slot >= <unsigned int>self.slot_count or self.slots[slot].peer == NULL:
            return None
        if self.slots[slot].generation != <unsigned short>(ack_ref >> 16):
            return None
        return <Peer>self.slots[slot].peer

    cdef unsigned int lay_out(self, unsigned long long ack_ref, unsigned int size,
                              size_t* touched) except? 0xFFFFFFFF:
        """Reserve room for one PUBACK; the first of a connection puts it on the list of those touched."""
        cdef Peer peer
        cdef Slot* slot
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
        peer.unacked -= 1
        return size

    def acknowledge(self, PublishChunk chunk not None) -> None:
        """All frames of the chunk are durable: send their PUBACKs, one write for each connection. At most once.

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
            total += self.lay_out(chunk.frames[i].ack_ref, 4, &count)
        for i in range(chunk.refusal_count):
            total += self.lay_out(chunk.refusals[i].ack_ref, 5, &count)
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
        cdef unsigned int index = <unsigned int>(ack_ref >> 32)
        cdef Slot* slot
        cdef unsigned char* at
        if ack_ref & 0xFFFF == 0 or index >= <unsigned int>self.slot_count:
            return
        slot = &self.slots[index]
        if slot.ack_bytes == 0 or slot.generation != <unsigned short>(ack_ref >> 16):
            return
        at = self.ack_room + slot.ack_at
        at[0] = 0x40
        at[1] = 3 if reason else 2
        at[2] = <unsigned char>(ack_ref >> 8)
        at[3] = <unsigned char>ack_ref
        slot.ack_at += 4
        if reason:
            at[4] = reason
            slot.ack_at += 1
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

    def deliver(self, bytes device_id not None, bytes topic not None, bytes payload not None, int qos) -> int:
        """Send a message to the connections that subscribed to it. See MqttEndpoint.deliver."""
        cdef Topic parts
        cdef Peer peer
        cdef int kind, slot, given = 0, forms, forms_qos1
        cdef unsigned short matching
        if parse_topic(topic, len(topic), &parts) != TOPIC_OTHER or parts.scope != SCOPE_DEVICE \
                or parts.id[:parts.id_size] != device_id:
            raise ValueError(f"not a downlink topic of {device_id!r}: {topic!r}")
        kind = downlink_kind(parts.id + parts.id_size + 1, len(topic) - 9 - parts.id_size)
        if kind < 0:
            raise ValueError(f"not a downlink topic of {device_id!r}: {topic!r}")
        slot = self.index.find(device_id, len(device_id))
        if slot < 0:
            return 0
        matching = forms_of_kind(kind)
        peer = self.by_device.get(slot)
        while peer is not None:
            if peer.forms & matching:
                given += self.give_to(peer, topic, payload, qos if peer.forms_qos1 & matching else 0)
            peer = peer.next_of_device
        for peer in self.child_watchers.get(slot, ()):
            forms, forms_qos1 = peer.child_forms[slot]
            if forms & matching and self.index.at(slot).gateway_num == self.index.at(peer.device).device_num:
                given += self.give_to(peer, topic, payload, qos if forms_qos1 & matching else 0)
        return given

    cdef int give_to(self, Peer peer, bytes topic, bytes payload, int qos) except -1:
        cdef int given = peer.give(topic, payload, 1 if qos else 0)
        if given:
            self.deliveries += 1
        else:
            self.deliveries_refused += 1
        return given

    def kick(self, bytes device_id not None, int reason) -> int:
        """Close all connections of a device with a reason code. Returns how many there were."""
        cdef int slot = self.index.find(device_id, len(device_id))
        cdef int kicked = 0
        cdef Peer peer
        cdef Peer after
        peer = self.by_device.get(slot) if slot >= 0 else None
        while peer is not None:
            after = peer.next_of_device
            peer.leave(reason)
            kicked += 1
            peer = after
        return kicked

    # Time and backpressure

    def start(self) -> None:
        """Start the clock of keep-alives and connect timeouts."""
        self.tick_timer = self.loop.call_later(TICK_MS / 1000.0, self.tick)

    def tick(self) -> None:
        """Look at every connection four times a second: cheaper than a timer touched by every packet."""
        cdef int i
        cdef Slot* slot
        self.tick_timer = self.loop.call_later(TICK_MS / 1000.0, self.tick)
        self.now_tick += 1
        self.log_budget = LOGS_A_TICK
        for i in range(1, self.slot_count):
            slot = &self.slots[i]
            if slot.peer == NULL:
                continue
            if slot.blocked_tick and self.now_tick - slot.blocked_tick > BLOCKED_TICKS:
                self.slow_readers += 1
                (<Peer>slot.peer).transport.abort()
            elif slot.allowed_ticks and self.now_tick - slot.seen_tick > slot.allowed_ticks:
                self.expire(<Peer>slot.peer)

    cdef int expire(self, Peer peer) except -1:
        if peer.state == STATE_LEAVING:
            peer.transport.abort()
        elif self.is_paused:
            return 0            # we do not read, so the silence is ours
        elif peer.state == STATE_OPEN:
            peer.leave(RC_KEEP_ALIVE_TIMEOUT)
        else:
            self.count_connect("timeout")
            peer.transport.abort()
        return 0

    def pause(self) -> None:
        """Stop reading all sockets. One accepted later is paused after its first read."""
        cdef int i
        cdef Peer peer
        if self.is_paused:
            return
        self.is_paused = True
        for i in range(1, self.slot_count):
            if self.slots[i].peer != NULL:
                peer = <Peer>self.slots[i].peer
                if peer.state < STATE_LEAVING:
                    peer.transport.pause_reading()

    def resume(self) -> None:
        """Read all sockets again, except those whose clients do not read our answers."""
        cdef int i
        cdef Peer peer
        if not self.is_paused or self.is_stopped:
            return
        self.is_paused = False
        for i in range(1, self.slot_count):
            if self.slots[i].peer != NULL:
                self.slots[i].seen_tick = self.now_tick
                peer = <Peer>self.slots[i].peer
                if not self.slots[i].blocked_tick:
                    peer.transport.resume_reading()

    def stop_reading(self) -> None:
        """Read no more, for good, and hand on what has been read."""
        self.pause()
        self.is_stopped = True
        self.flush()

    def leave_all(self, int reason) -> None:
        """Tell every client why and end our half of its connection."""
        cdef int i
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
    def paused(self) -> bool:
        return self.is_paused

    def counters(self) -> dict:
        """Plain numbers since the start, but `connections` and `sockets`, which are now. See MqttEndpoint.counters."""
        counters = {
            "connections": self.open_count,
            "sockets": self.socket_count,
            "messages.qos0": self.messages[0],
            "messages.qos1": self.messages[1],
            "bytes": self.bytes_received,
            "chunks": self.chunks,
            "acks": self.acks_sent,
            "acks_refused": self.refused_acks_sent,
            "acks_gone": self.acks_gone,
            "deliveries": self.deliveries,
            "deliveries_refused": self.deliveries_refused,
            "closed.slow_reader": self.slow_readers,
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
