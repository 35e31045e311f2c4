# cython: language_level=3
"""What Sparkplug edge nodes have announced, and what is known of their messages: births, aliases, sequence numbers.

One table per process, used by one thread. Its memory is bounded: the dead make room for the living, and
a birth that finds none is decoded but not remembered. Births and deaths also become records for a file (`journal`),
from which `load` makes the table again.
"""

from struct import Struct
from zlib import crc32

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from cpython.bytes cimport PyBytes_FromStringAndSize

from ext.telemetry.byte_hash cimport hash_bytes
from ext.telemetry.sparkplug_sequence cimport (
    SEQUENCE_CLOSED,
    SEQUENCE_GAP,
    SEQUENCE_LATE,
    SEQUENCE_LOST,
    SEQUENCE_REPEATED,
    SequenceStep,
    step_sequence,
)

from ext.telemetry.sparkplug_table cimport Announced, BornMetric, fill_table, release_table, table_bytes

cdef enum Kind:                     # of a record
    KIND_BIRTH = 1
    KIND_DEATH = 2
    KIND_FORGOTTEN = 3

cdef enum:
    JOURNAL_MAX_BYTES = 16_000_000  # what waits for the disk; beyond it the next write is a snapshot
    EVENTS_MAX = 10_000
    BACKOFF_DOUBLINGS = 7
    RESCAN_MS = 1000                # how long a search for something to throw away is not repeated

MAGIC = b"SpB\x01"
# magic, size and CRC-32 of the body
HEAD = Struct("<4sII")
# kind, flags (1 has bdSeq), owner, sizes of key, of group, of group and edge, bdSeq, metrics
BODY = Struct("<BBIHHHQI")
# alias, flags (1 has an alias, 2 control), datatype, sizes of name and unit
cdef enum:
    METRIC_BYTES = 13
    HEAD_BYTES = 12
    BODY_BYTES = 24

cdef class Births:
    """Edge nodes and devices by (sender, `{group}/{edge}[/{device}]`).

    Args:
        max_bytes: memory that names, aliases and tables may take together.
        max_of_sender: edge nodes and devices that one gateway may have here, in at most an eighth of the memory; what
            comes through a broker is not bound by it.
    """

    def __cinit__(self, size_t max_bytes=64_000_000, int max_of_sender=4096):
        self.max_bytes = max_bytes
        self.max_of_sender = max_of_sender
        self.of_sender = {}
        self.journal = []
        self.events = []
        self.free_slot = -1
        self.bucket_mask = 1023
        self.buckets = <int*>malloc((self.bucket_mask + 1) * sizeof(int))
        if self.buckets == NULL:
            raise MemoryError
        memset(self.buckets, 0xFF, (self.bucket_mask + 1) * sizeof(int))

    def __dealloc__(self):
        cdef int slot
        for slot in range(self.count):
            release_table(&self.births[slot].table)
            free(self.births[slot].key)
        free(self.births)
        free(self.buckets)
        free(self.pending)

    def __len__(self) -> int:
        """Edge nodes and devices, dead ones included."""
        return self.nodes + self.devices

    # --- the table

    cdef int find(self, unsigned int owner, const unsigned char* key, size_t size) noexcept:
        cdef unsigned int hash = hash_bytes(key, size) ^ (owner * 0x9E3779B1u)
        cdef int slot = self.buckets[hash & self.bucket_mask]
        cdef Birth* birth
        while slot >= 0:
            birth = &self.births[slot]
            if birth.hash == hash and birth.owner == owner and birth.key_size == size \
                    and memcmp(birth.key, key, size) == 0:
                return slot
            slot = birth.next
        return -1

    cdef int enter(self, unsigned int owner, const unsigned char* key, size_t size, size_t group_size, size_t edge_end,
                   long long now_ms) except -2:
        cdef int slot = self.find(owner, key, size)
        cdef int node = -1
        cdef int room
        cdef Birth* birth
        cdef void* grown
        self.clock_ms = now_ms
        if slot >= 0:
            self.births[slot].seen_ms = now_ms
            return slot
        if size > 0xFFFF:
            return -1
        if edge_end < size:
            node = self.enter(owner, key, edge_end, group_size, edge_end, now_ms)
            if node < 0:
                return -1
        if (owner and self.of_sender.get(owner, (0, 0))[0] >= self.max_of_sender) \
                or not self.make_room(owner, sizeof(Birth) + size):
            self.births_refused += 1
            return -1
        if self.free_slot >= 0:
            slot = self.free_slot
            self.free_slot = self.births[slot].next
        else:
            if self.count == self.capacity:
                room = max(self.capacity * 2, 64)
                grown = realloc(self.births, room * sizeof(Birth))
                if grown == NULL:
                    raise MemoryError
                self.births = <Birth*>grown
                self.capacity = room
            slot = self.count
            memset(&self.births[slot], 0, sizeof(Birth))
            self.count += 1
        birth = &self.births[slot]
        memset(birth, 0, sizeof(Birth))
        birth.node = -1
        birth.next_device = -1
        birth.key = <unsigned char*>malloc(size + 1)
        if birth.key == NULL:
            birth.next = self.free_slot
            self.free_slot = slot
            raise MemoryError
        memcpy(birth.key, key, size)
        birth.key_size = <unsigned short>size
        birth.group_size = <unsigned short>group_size
        birth.edge_end = <unsigned short>edge_end
        birth.owner = owner
        birth.hash = hash_bytes(key, size) ^ (owner * 0x9E3779B1u)
        birth.seen_ms = now_ms
        self.hold(birth, 1, sizeof(Birth) + size)
        birth.flags = BIRTH_USED
        if node < 0:
            birth.flags |= BIRTH_NODE
            birth.node = slot
            self.nodes += 1
        else:
            birth.node = node
            birth.next_device = self.births[node].next_device
            self.births[node].next_device = slot
            self.devices += 1
        birth.next = self.buckets[birth.hash & self.bucket_mask]
        self.buckets[birth.hash & self.bucket_mask] = slot
        if <unsigned int>(self.nodes + self.devices) > self.bucket_mask:
            self.spread()
        return slot

    def spread(self) -> None:
        """Twice the buckets."""
        cdef unsigned int mask = self.bucket_mask * 2 + 1
        cdef int* wider = <int*>malloc((<size_t>mask + 1) * sizeof(int))
        cdef int slot
        if wider == NULL:
            return                      # the chains grow instead
        memset(wider, 0xFF, (<size_t>mask + 1) * sizeof(int))
        for slot in range(self.count):
            if self.births[slot].flags & BIRTH_USED:
                self.births[slot].next = wider[self.births[slot].hash & mask]
                wider[self.births[slot].hash & mask] = slot
        free(self.buckets)
        self.buckets = wider
        self.bucket_mask = mask

    cdef int hold(self, Birth* birth, int births, long long more) except -1:
        """Count memory taken (or, negative, given back), and births, against all and against the sender."""
        birth.held_bytes += more
        self.held_bytes += more
        if birth.owner:
            number, size = self.of_sender.get(birth.owner, (0, 0))
            number += births
            if number:
                self.of_sender[birth.owner] = (number, size + more)
            else:
                del self.of_sender[birth.owner]
        return 0

    cdef bint make_room(self, unsigned int owner, size_t more) except -1:
        """Whether a sender may have that many bytes more, if need be in place of nodes that are dead."""
        cdef int slot, device, _looked
        if owner and self.of_sender.get(owner, (0, 0))[1] + more > self.max_bytes // 8:
            return False
        while self.held_bytes + more > self.max_bytes:
            if self.clock_ms < self.full_until_ms:
                return False
            for _looked in range(self.count):
                slot = self.hand
                self.hand = self.hand + 1 if self.hand + 1 < self.count else 0
                if not self.births[slot].flags & BIRTH_NODE or self.births[slot].flags & BIRTH_BORN \
                        or self.births[slot].seen_ms >= self.clock_ms:
                    continue
                device = self.births[slot].next_device
                while device >= 0 and not self.births[device].flags & BIRTH_BORN:
                    device = self.births[device].next_device
                if device < 0:
                    self.forget(slot)
                    self.evicted += 1
                    break
            else:
                self.full_until_ms = self.clock_ms + RESCAN_MS
                return False
        return True

    cdef int forget(self, int slot) except -1:
        """Take a node and its devices out of the table."""
        cdef Birth* birth
        cdef int* link
        cdef int at = slot
        cdef int following, i
        self.record(slot, KIND_FORGOTTEN)
        while at >= 0:
            birth = &self.births[at]
            following = birth.next_device
            if birth.flags & BIRTH_PENDING:
                for i in range(self.pending_count):
                    if self.pending[i] == at:
                        self.pending_count -= 1
                        self.pending[i] = self.pending[self.pending_count]
                        break
            link = &self.buckets[birth.hash & self.bucket_mask]
            while link[0] != at:
                link = &self.births[link[0]].next
            link[0] = birth.next
            if birth.flags & BIRTH_NODE:
                self.nodes -= 1
                self.born_nodes -= birth.flags & BIRTH_BORN
            else:
                self.devices -= 1
                self.born_devices -= birth.flags & BIRTH_BORN
            self.hold(birth, -1, -<long long>birth.held_bytes)
            release_table(&birth.table)
            free(birth.key)
            memset(birth, 0, sizeof(Birth))
            birth.next = self.free_slot
            self.free_slot = at
            at = following
        return 0

    # --- births and deaths

    cdef int bear(self, int slot, Announced* metrics, size_t count, bint has_bd_seq, unsigned long long bd_seq,
                  long long now_ms) except -1:
        cdef Birth* birth = &self.births[slot]
        cdef bint was_born = birth.flags & BIRTH_BORN
        cdef int device
        self.clock_ms = now_ms
        self.undo(slot)
        if self.lay_out(slot, metrics, count) < 0:
            self.births_refused += 1
            return 0
        birth.flags &= <unsigned char>~BIRTH_AWAITED
        birth.flags |= BIRTH_BORN
        if birth.flags & BIRTH_NODE:
            self.born_nodes += 1
        else:
            self.born_devices += 1
        self.births_kept += 1
        if birth.flags & BIRTH_NODE:
            birth.has_bd_seq = has_bd_seq
            birth.bd_seq = bd_seq
            birth.wants = 0
            birth.tries = 0
            device = birth.next_device
            while device >= 0:                      # each is to be born anew: its aliases may be others
                self.undo(device)
                device = self.births[device].next_device
        self.record(slot, KIND_BIRTH)
        if not was_born:
            self.tell("born", slot, now_ms)
        return 0

    cdef bint bury(self, int slot, bint has_bd_seq, unsigned long long bd_seq, long long now_ms) except -1:
        cdef Birth* birth = &self.births[slot]
        cdef int device
        if not birth.flags & BIRTH_BORN:
            self.deaths_ignored += 1
            return False
        if birth.flags & BIRTH_NODE:
            # The will of a connection before this one may come late.
            if has_bd_seq and birth.has_bd_seq and bd_seq != birth.bd_seq:
                self.deaths_ignored += 1
                return False
            device = birth.next_device
            while device >= 0:
                self.undo(device)
                device = self.births[device].next_device
            birth.sequence.is_known = 0
            birth.sequence.missing_count = 0
            memset(birth.sequence.missing, 0, sizeof(birth.sequence.missing))
            birth.wants = 0
            birth.flags &= <unsigned char>~BIRTH_AWAITED
        self.deaths += 1
        self.undo(slot)
        self.record(slot, KIND_DEATH)
        self.tell("dead", slot, now_ms)
        return True

    cdef int undo(self, int slot) except -1:
        """Forget the metrics: the aliases hold no more."""
        cdef Birth* birth = &self.births[slot]
        if birth.flags & BIRTH_BORN:
            if birth.flags & BIRTH_NODE:
                self.born_nodes -= 1
            else:
                self.born_devices -= 1
        birth.flags &= <unsigned char>~(BIRTH_BORN | BIRTH_RESTORED)
        if birth.table.metrics != NULL:
            self.hold(birth, 0, <long long>(sizeof(Birth) + birth.key_size) - <long long>birth.held_bytes)
            release_table(&birth.table)
        return 0

    cdef int lay_out(self, int slot, Announced* metrics, size_t count) except -2:
        """A birth's metrics, copied into the table of a slot that has none. Returns -1 if there is no room."""
        cdef Birth* birth = &self.births[slot]
        cdef size_t needed = table_bytes(metrics, count)
        if not self.make_room(birth.owner, needed):
            return -1
        if fill_table(&birth.table, metrics, count):
            raise MemoryError
        return self.hold(birth, 0, needed)

    cdef int tell(self, str what, int slot, long long now_ms) except -1:
        cdef Birth* birth = &self.births[slot]
        if len(self.events) >= EVENTS_MAX:
            self.events_dropped += 1
            return 0
        self.events.append((what, birth.owner, birth.key[: birth.key_size], now_ms))
        return 0

    # --- sequence numbers and rebirths

    cdef int step(self, int node, unsigned long long number, long long now_ms) except -1:
        cdef Birth* birth = &self.births[node]
        cdef SequenceStep step
        cdef unsigned short missing = birth.sequence.missing_count
        if birth.flags & BIRTH_AWAITED:
            self.want(node, WANT_AGAIN)
        if number > 255:
            return 0
        step = step_sequence(&birth.sequence, <unsigned char>number, now_ms)
        if step == SEQUENCE_GAP:
            self.gaps += 1
            self.missing += birth.sequence.missing_count - missing
            self.pend(node)
        elif step == SEQUENCE_LATE or step == SEQUENCE_CLOSED:
            self.late += 1
        elif step == SEQUENCE_REPEATED:
            self.repeated += 1
        elif step == SEQUENCE_LOST:
            self.want(node, WANT_GAP)
        return 0

    cdef int want(self, int node, unsigned char why) except -1:
        cdef Birth* birth = &self.births[node]
        if birth.wants or birth.flags & BIRTH_AWAITED:
            if why != WANT_AGAIN:
                self.rebirths_suppressed += 1
        birth.wants |= why
        return self.pend(node)

    cdef int pend(self, int node) except -1:
        """Have rebirths_due look at this node."""
        cdef void* grown
        cdef int room
        if self.births[node].flags & BIRTH_PENDING:
            return 0
        if self.pending_count == self.pending_capacity:
            room = max(self.pending_capacity * 2, 64)
            grown = realloc(self.pending, room * sizeof(int))
            if grown == NULL:
                raise MemoryError
            self.pending = <int*>grown
            self.pending_capacity = room
        self.births[node].flags |= BIRTH_PENDING
        self.pending[self.pending_count] = node
        self.pending_count += 1
        return 0

    def rebirths_due(self, long long now_ms, long long reorder_ms, long long interval_ms, long long longest_ms,
                     int limit) -> list:
        """Nodes that are to be asked for their births now. They count as asked.

        Args:
            reorder_ms: how long a missing message may be late.
            interval_ms, longest_ms: a node is not asked again before; it doubles while no birth comes.
            limit: at most so many; the others stay where they are.
        Returns: (owner, group and edge with a slash between, bits of Want).
        """
        cdef Birth* birth
        cdef int i, node, kept = 0
        found = []
        for i in range(self.pending_count):
            node = self.pending[i]
            birth = &self.births[node]
            if birth.sequence.missing_count and now_ms - birth.sequence.since_ms >= reorder_ms:
                birth.wants |= WANT_GAP
                # The next gap has a time of its own.
                birth.sequence.missing_count = 0
                memset(birth.sequence.missing, 0, sizeof(birth.sequence.missing))
            if birth.wants and now_ms >= birth.not_before_ms and len(found) < limit:
                found.append((birth.owner, birth.key[: birth.key_size], birth.wants))
                birth.wants = 0
                birth.flags |= BIRTH_AWAITED
                birth.not_before_ms = now_ms + min(interval_ms << birth.tries, longest_ms)
                birth.tries = min(birth.tries + 1, BACKOFF_DOUBLINGS)
                self.rebirths_requested += 1
            if birth.wants or birth.sequence.missing_count:
                self.pending[kept] = node
                kept += 1
            else:
                birth.flags &= <unsigned char>~BIRTH_PENDING
        self.pending_count = kept
        return found

    def doubt(self, owner) -> int:
        """Messages of this sender (0: of brokers) may have been lost, births among them. Returns how many nodes it has.

        Aliases go on to hold, but each node is asked for its births when it sends something.
        """
        cdef int slot, found = 0
        cdef Birth* birth
        for slot in range(self.count):
            birth = &self.births[slot]
            if birth.owner == owner and birth.flags & BIRTH_BORN:
                birth.flags |= BIRTH_RESTORED
                if birth.flags & BIRTH_NODE:
                    found += 1
                    birth.sequence.is_known = 0
                    birth.sequence.missing_count = 0
                    memset(birth.sequence.missing, 0, sizeof(birth.sequence.missing))
        return found

    def take_events(self) -> list:
        """(`born` or `dead`, owner, key, ms) since the last call."""
        found, self.events = self.events, []
        return found

    def known(self, owner, bytes key not None) -> dict | None:
        """What is remembered of an edge node or device: for tests and tools."""
        cdef int slot = self.find(owner, key, len(key))
        cdef Birth* birth
        cdef BornMetric* born
        if slot < 0:
            return None
        birth = &self.births[slot]
        metrics = []
        for i in range(birth.table.metric_count):
            born = &birth.table.metrics[i]
            metrics.append((
                birth.table.text[born.name_at : born.name_at + born.name_size], born.alias if born.has_alias else None,
                born.datatype, birth.table.text[born.unit_at : born.unit_at + born.unit_size], bool(born.is_control),
            ))
        return {
            "is_born": bool(birth.flags & BIRTH_BORN),
            "is_restored": bool(birth.flags & BIRTH_RESTORED),
            "bd_seq": birth.bd_seq if birth.has_bd_seq else None,
            "expected_seq": birth.sequence.expected if birth.sequence.is_known else None,
            "missing": birth.sequence.missing_count,
            "wants": birth.wants,
            "metrics": metrics,
        }

    # --- the file

    cdef int record(self, int slot, int kind) except -1:
        cdef bytes record
        if self.needs_snapshot:
            return 0
        record = self.record_of(slot, kind)
        self.journal_bytes += len(record)
        if self.journal_bytes > JOURNAL_MAX_BYTES:
            self.needs_snapshot = True
            self.journal = []
            self.journal_bytes = 0
            return 0
        self.journal.append(record)
        return 0

    cdef bytes record_of(self, int slot, int kind):
        cdef Birth* birth = &self.births[slot]
        cdef BornMetric* born
        cdef size_t count = birth.table.metric_count if kind == KIND_BIRTH else 0
        cdef size_t i, size = 0
        cdef bytes metrics
        cdef unsigned char* at
        for i in range(count):
            size += METRIC_BYTES + birth.table.metrics[i].name_size + birth.table.metrics[i].unit_size
        metrics = PyBytes_FromStringAndSize(NULL, size)
        at = metrics
        for i in range(count):
            born = &birth.table.metrics[i]
            memcpy(at, &born.alias, 8)
            at[8] = born.has_alias | (born.is_control << 1)
            at[9] = born.datatype
            memcpy(at + 10, &born.name_size, 2)
            at[12] = born.unit_size
            memcpy(at + METRIC_BYTES, birth.table.text + born.name_at, born.name_size)
            at += METRIC_BYTES + born.name_size
            memcpy(at, birth.table.text + born.unit_at, born.unit_size)
            at += born.unit_size
        body = BODY.pack(kind, birth.has_bd_seq, birth.owner, birth.key_size, birth.group_size, birth.edge_end,
                         birth.bd_seq, count) + birth.key[: birth.key_size] + metrics
        return HEAD.pack(MAGIC, len(body), crc32(body)) + body

    def take_journal(self) -> bytes:
        """The records since the last call, to be appended to the file."""
        found, self.journal = self.journal, []
        self.journal_bytes = 0
        return b"".join(found)

    def snapshot(self) -> bytes:
        """Records of all that is born; a file of just these says the same as the one before. Empties the journal."""
        cdef int slot, device
        cdef list found = []
        for slot in range(self.count):
            if self.births[slot].flags & BIRTH_NODE and self.births[slot].flags & BIRTH_USED:
                if self.births[slot].flags & BIRTH_BORN:
                    found.append(self.record_of(slot, KIND_BIRTH))
                device = self.births[slot].next_device
                while device >= 0:
                    if self.births[device].flags & BIRTH_BORN:
                        found.append(self.record_of(device, KIND_BIRTH))
                    device = self.births[device].next_device
        self.journal = []
        self.journal_bytes = 0
        self.needs_snapshot = False
        return b"".join(found)

    def load(self, bytes data not None) -> int:
        """Take up what records say. Damaged ones are passed over and counted in `damaged`. Returns how many were read.

        What was born is so again, until it is born anew; it counts as restored.
        """
        cdef const unsigned char* start = data
        cdef size_t size = len(data)
        cdef size_t at = 0
        cdef bint is_in_step = True
        cdef int slot
        cdef int records = 0
        while at < size:
            if size - at >= HEAD_BYTES and memcmp(start + at, <const char*>b"SpB\x01", 4) == 0:
                _, length, check = HEAD.unpack_from(data, at)
                body = data[at + HEAD_BYTES : at + HEAD_BYTES + length]
                if len(body) == length and crc32(body) == check and self.replay(start + at + HEAD_BYTES, length):
                    at += HEAD_BYTES + length
                    records += 1
                    is_in_step = True
                    continue
            if is_in_step:
                self.damaged += 1
            is_in_step = False
            at += 1
            while at < size and start[at] != 0x53:      # the first byte of MAGIC
                at += 1
        for slot in range(self.count):
            if self.births[slot].flags & BIRTH_BORN:
                self.births[slot].flags |= BIRTH_RESTORED
        self.events = []
        self.journal = []
        self.journal_bytes = 0
        self.births_kept = self.deaths = self.deaths_ignored = 0
        return records

    cdef bint replay(self, const unsigned char* at, size_t size) except -1:
        """One record's body. Returns False if it is not one."""
        cdef const unsigned char* end = at + size
        cdef Announced* metrics
        cdef size_t count, i
        cdef unsigned short name_size
        cdef int slot
        if size < BODY_BYTES:
            return False
        kind, flags, owner, key_size, group_size, edge_end, bd_seq, metric_count = BODY.unpack(at[:BODY_BYTES])
        at += BODY_BYTES
        count = metric_count
        if <size_t>(end - at) < <size_t>key_size or count > <size_t>(end - at) // METRIC_BYTES \
                or not 0 < group_size < edge_end <= key_size:
            return False
        if kind != KIND_BIRTH:
            slot = self.find(owner, at, key_size)
            if slot >= 0 and kind == KIND_DEATH:
                self.bury(slot, False, 0, 0)
            elif slot >= 0 and self.births[slot].flags & BIRTH_NODE:
                self.forget(slot)
            return kind == KIND_DEATH or kind == KIND_FORGOTTEN
        metrics = <Announced*>malloc((count + 1) * sizeof(Announced))
        if metrics == NULL:
            raise MemoryError
        try:
            key = at
            at += <size_t>key_size
            for i in range(count):
                if end - at < METRIC_BYTES:
                    return False
                memcpy(&metrics[i].alias, at, 8)
                metrics[i].has_alias = at[8] & 1
                metrics[i].is_control = at[8] >> 1 & 1
                metrics[i].datatype = at[9]
                memcpy(&name_size, at + 10, 2)
                metrics[i].name_size = name_size
                metrics[i].unit_size = at[12]
                at += METRIC_BYTES
                if end - at < <int>name_size + <int>metrics[i].unit_size:
                    return False
                metrics[i].name = at
                metrics[i].unit = at + name_size
                at += <size_t>name_size + metrics[i].unit_size
            slot = self.enter(owner, key, key_size, group_size, edge_end, 0)
            if slot >= 0:
                self.bear(slot, metrics, count, flags & 1, bd_seq, 0)
            return True
        finally:
            free(metrics)
