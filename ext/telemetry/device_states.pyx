# cython: language_level=3
"""What devices were last heard to do: marks in C memory, written out as ReportDeviceStatesRequest without objects.

Only the newest counts, so nothing here grows with the time for which the registry is away.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from ext.telemetry.region cimport free_region, reserve_region

cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* at) noexcept nogil

cdef extern from "<sys/mman.h>" nogil:
    int madvise(void* at, size_t size, int advice)
    int MADV_HUGEPAGE

cdef enum:
    MAX_REPORTS = 1_000             # the registry reads them in some milliseconds, in which it answers nobody else
    MAX_BODY_BYTES = 1_048_576
    MAX_NAME_BYTES = 63             # of a node, and of a reason
    AHEAD = 8
    HUGE_BYTES = 4_194_304
    DOCUMENT_COST_BYTES = 256       # of what keeps a document, beside its text
    # A report without its document: tag and length, seven numbers with their tags, a reason
    REPORT_BYTES = 6 + 7 * 11 + 2 + MAX_NAME_BYTES + 4
    # Tags of ReportDeviceStatesRequest and DeviceStateReport
    TAG_NODE = 0x0A
    TAG_RUN = 0x10
    TAG_REPORTS = 0x1A
    TAG_DEVICE_NUM = 0x08
    TAG_LAST_SEEN_MS = 0x10
    TAG_LAST_READING_MS = 0x18
    TAG_CONNECTION = 0x20
    TAG_CONNECTION_MS = 0x28
    TAG_DISCONNECT_REASON = 0x32
    TAG_DOCUMENT = 0x3A
    TAG_DOCUMENT_MS = 0x40
    TAG_OPENED_MS = 0x48
    CONNECTION_OPEN = 1
    CONNECTION_CLOSED = 2
    NOT_LATER = STATE_HAS_CONNECTION | STATE_HAS_DOCUMENT | STATE_IS_FIRST

STREAM_ENDED = END_STREAM
# Names of how connections end that are not reason codes.
ENDS = {0: "normal_disconnection", END_LOST: "connection_lost", END_STREAM: "stream_ended", 4: "disconnect_with_will"}


cdef unsigned char* put_number(unsigned char* out, unsigned char tag, unsigned long long value) noexcept nogil:
    out[0] = tag
    out += 1
    while value >= 0x80:
        out[0] = <unsigned char>(value | 0x80)
        value >>= 7
        out += 1
    out[0] = <unsigned char>value
    return out + 1


cdef unsigned char* put_bytes(unsigned char* out, unsigned char tag, bytes text) noexcept:
    cdef size_t size = <size_t>len(text)
    out = put_number(out, tag, size)
    memcpy(out, <const unsigned char*>text, size)
    return out + size


cdef long long clock_ms() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <long long>now.tv_sec * 1000 + now.tv_nsec // 1_000_000


cdef double monotonic_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <double>now.tv_sec + <double>now.tv_nsec * 1e-9


cdef class DeviceStates:
    """One per process, beside its device index; not thread-safe.

    Args:
        node: name of this process at the registry, 1 to 63 bytes.
        run: another number for each start of it, below 2**64.
        reasons: names of reasons for which connections end, by number 0 to 255; ENDS has those that MQTT has not.
        progress_s: a device with no other news than that it talks is told at most so often.
        max_document_bytes: of all `state` documents that wait to be told.
    """

    def __cinit__(self, DeviceIndex index not None, str node not None, unsigned long long run, dict reasons not None,
                  unsigned int progress_s=20, size_t max_document_bytes=64_000_000):
        cdef bytes name = node.encode()
        cdef unsigned char[MAX_NAME_BYTES + 14] head
        cdef unsigned char* end
        if not 1 <= len(name) <= MAX_NAME_BYTES:
            raise ValueError(f"the name of a node has 1 to {MAX_NAME_BYTES} bytes: {node!r}")
        end = put_bytes(head, TAG_NODE, name)
        end = put_number(end, TAG_RUN, run)
        self.head = head[: end - head]
        self.index = index
        self.reasons = [reasons.get(code, f"reason_{code:02x}").encode()[:MAX_NAME_BYTES] for code in range(256)]
        self.progress_s = progress_s
        self.documents = {}
        self.fresh = {}
        self.under_way = []
        self.found = []
        self.max_document_bytes = max_document_bytes
        self.began_s = monotonic_s() - 1

    def __dealloc__(self):
        free_region(&self.state_region)
        free_region(&self.listed_region)
        free_region(&self.round_region)
        free(self.body)

    # Marks

    cdef bint grow(self, size_t slot) noexcept:
        cdef size_t room = slot + 1
        if reserve_region(&self.state_region, room * sizeof(State)):
            return False
        room = self.state_region.mapped // sizeof(State)
        if reserve_region(&self.listed_region, room * sizeof(int)) \
                or reserve_region(&self.round_region, room * sizeof(int)):
            room = self.capacity        # of the lists; the states may have moved
        if self.state_region.mapped >= HUGE_BYTES:      # looking pages up costs more than looking at a device
            madvise(self.state_region.at, self.state_region.mapped, MADV_HUGEPAGE)
        self.at = <State*>self.state_region.at
        self.listed = <unsigned int*>self.listed_region.at
        self.round = <unsigned int*>self.round_region.at
        self.capacity = room
        return slot < room

    cdef void note(self, size_t slot) noexcept:
        self.at[slot].flags |= STATE_LISTED
        self.listed[self.listed_count] = <unsigned int>slot
        self.listed_count += 1

    cdef int opened(self, int slot) except -1:
        cdef State* state
        cdef long long now_ms = clock_ms()
        mark_seen(self, slot, now_ms)
        if <size_t>slot >= self.capacity:
            raise MemoryError
        state = &self.at[slot]
        if state.connections < 0xFFFF:
            state.connections += 1
        if state.connections == 1:
            state.opened_ms = now_ms
            self.turned(<size_t>slot, now_ms)
        return 0

    cdef int closed(self, int slot, unsigned char reason) except -1:
        cdef State* state
        if <size_t>slot >= self.capacity:
            return 0
        state = &self.at[slot]
        if state.connections == 0:
            return 0
        state.connections -= 1
        if state.connections == 0:
            state.reason = reason
            self.turned(<size_t>slot, clock_ms())
        return 0

    cdef void turned(self, size_t slot, long long now_ms) noexcept:
        """It is connected, or not any more."""
        cdef State* state = &self.at[slot]
        state.connection_ms = max(now_ms, state.connection_ms)
        state.flags |= STATE_HAS_CONNECTION
        if not state.flags & STATE_LISTED:
            self.note(slot)

    cdef bint take_document(self, int slot, const unsigned char* at, size_t size, long long at_ms) except -1:
        cdef unsigned int device_num = self.index.devices[slot].device_num
        cdef size_t had = 0
        cdef tuple held = self.documents.get(device_num)
        if held is not None:
            if held[1] > at_ms:
                return True
            had = <size_t>len(held[0]) + DOCUMENT_COST_BYTES
        if self.document_bytes - had + size + DOCUMENT_COST_BYTES > self.max_document_bytes or (
            <size_t>slot >= self.capacity and not self.grow(<size_t>slot)
        ):
            self.documents_refused += 1
            return False
        held = (at[:size], at_ms)
        self.hold(device_num, held)
        self.fresh[device_num] = held
        self.documents_taken += 1
        self.at[slot].flags |= STATE_HAS_DOCUMENT
        if not self.at[slot].flags & STATE_LISTED:
            self.note(<size_t>slot)
        return True

    cdef int hold(self, unsigned int device_num, tuple document) except -1:
        cdef tuple before = self.documents.get(device_num)
        if before is not None:
            self.document_bytes -= <size_t>len(before[0]) + DOCUMENT_COST_BYTES
        self.documents[device_num] = document
        self.document_bytes += <size_t>len(document[0]) + DOCUMENT_COST_BYTES
        return 0

    def open(self, int slot) -> None:
        """A stream of the device has begun. Raises: IndexError for a slot that the index does not have."""
        self.check(slot)
        self.opened(slot)

    def close(self, int slot, unsigned char reason) -> None:
        """One of the device's streams has ended. Args: reason: of those given at the start."""
        self.check(slot)
        self.closed(slot, reason)

    def see(self, int slot, long long at_ms) -> None:
        """A message of the device came then: UTC milliseconds."""
        self.check(slot)
        mark_seen(self, slot, at_ms)

    def read(self, int slot, long long at_ms) -> None:
        """A reading of the device came then: UTC milliseconds."""
        self.check(slot)
        mark_reading(self, slot, at_ms)

    def document(self, int slot, bytes document not None, long long at_ms) -> bool:
        """A `state` document, a JSON object, came then. False: there is no room for it."""
        self.check(slot)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a document of more than {MAX_DOCUMENT_BYTES} bytes")
        return self.take_document(slot, document, <size_t>len(document), at_ms)

    def recover(self, unsigned int device_num, bytes document not None, long long at_ms) -> None:
        """A `state` document that an earlier run had taken and not told, whether or not the index has its device."""
        cdef tuple held = self.documents.get(device_num)
        if len(document) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a document of more than {MAX_DOCUMENT_BYTES} bytes")
        if held is None or held[1] <= at_ms:
            self.hold(device_num, (document, at_ms))
            self.found.append(device_num)

    def take_fresh(self) -> list:
        """Documents that came since the last call and that the registry has not: (device number, document, time)."""
        cdef dict fresh = self.fresh
        self.fresh = {}
        return [(device_num, held[0], held[1]) for device_num, held in fresh.items()]

    def untold(self) -> list:
        """All documents that the registry has not answered for: (device number, document, time)."""
        return [(device_num, held[0], held[1]) for device_num, held in self.documents.items()]

    def check(self, int slot) -> None:
        if not 0 <= slot < self.index.count:
            raise IndexError(slot)

    # What the registry is told

    def begin_round(self) -> int:
        """Put those with news in line for next_request(); returns how many there are. The round before has ended."""
        if self.round_at == self.round_count:
            self.listed, self.round = self.round, self.listed
            self.listed_region, self.round_region = self.round_region, self.listed_region
            self.round_count, self.round_at, self.listed_count = self.listed_count, 0, 0
        return self.round_count - self.round_at

    def next_request(self, size_t look_at=20_000) -> bytes:
        """A ReportDeviceStatesRequest for the next of the round that have something to tell.

        What is in it counts as told: keep the bytes until they are answered, and send them again until then.

        Args: look_at: so many of the round are looked at.
        Returns: empty if none of these has anything to tell now; then it may still be `left`.
        """
        cdef size_t size = <size_t>len(self.head), reports = 0, slot
        cdef unsigned int device_num, now_s = <unsigned int>(monotonic_s() - self.began_s)
        cdef State* state
        cdef tuple held
        while self.found and reports < (1 if self.is_alone else MAX_REPORTS) and size < MAX_BODY_BYTES:
            device_num = self.found.pop()
            held = self.documents.get(device_num)
            if held is None:
                continue
            self.make_room(size)
            size += self.put_found(device_num, held, self.body + size)
            reports += 1
        self.was_alone = self.is_alone and reports
        if self.was_alone:
            look_at = 0
            self.is_alone = len(self.found) > 0
        while self.round_at < self.round_count and look_at and reports < MAX_REPORTS and size < MAX_BODY_BYTES:
            if self.round_at + AHEAD < self.round_count:
                prefetch(&self.at[self.round[self.round_at + AHEAD]])
            slot = self.round[self.round_at]
            state = &self.at[slot]
            look_at -= 1
            if not state.flags & NOT_LATER and state.told_s and now_s - state.told_s < self.progress_s:
                self.round_at += 1
                self.note(slot)
                continue
            self.make_room(size)
            size += self.put_report(slot, self.body + size)
            state.told_s = now_s
            self.round_at += 1
            reports += 1
        self.told += reports
        if reports == 0:
            return b""
        memcpy(self.body, <const unsigned char*>self.head, <size_t>len(self.head))
        return PyBytes_FromStringAndSize(<char*>self.body, <Py_ssize_t>size)

    def answered(self) -> None:
        """The registry has what was in the requests so far: their documents are forgotten."""
        cdef tuple held
        for device_num, held in self.under_way:
            if self.documents.get(device_num) is held:
                del self.documents[device_num]
                self.document_bytes -= <size_t>len(held[0]) + DOCUMENT_COST_BYTES
            if self.fresh.get(device_num) is held:
                del self.fresh[device_num]
        self.under_way.clear()

    def refused(self) -> None:
        """The registry would never take the last request. Its documents are told once more, each alone, for it need
        not be theirs what is wrong; one that is refused alone is forgotten."""
        cdef list again = [device_num for device_num, held in self.under_way if self.documents.get(device_num) is held]
        if self.was_alone:
            self.answered()
            return
        self.found.extend(again)
        self.is_alone = len(self.found) > 0
        self.under_way.clear()

    cdef int make_room(self, size_t size) except -1:
        """For one more report behind so many bytes of the request."""
        cdef size_t room
        cdef void* grown
        if size + REPORT_BYTES + MAX_DOCUMENT_BYTES > self.body_capacity:
            room = max(2 * self.body_capacity, <size_t>65_536)
            grown = realloc(self.body, room)
            if grown == NULL:
                raise MemoryError
            self.body = <unsigned char*>grown
            self.body_capacity = room
        return 0

    cdef size_t put_found(self, unsigned int device_num, tuple held, unsigned char* out) except 0:
        """Write one field `reports` that has a document and nothing else. Returns its size."""
        cdef unsigned char[REPORT_BYTES] report
        cdef unsigned char* at = put_number(report, TAG_DEVICE_NUM, device_num)
        cdef unsigned char* start = out
        cdef bytes document = held[0]
        cdef size_t size
        at = put_number(at, TAG_LAST_SEEN_MS, <unsigned long long>max(<long long>held[1], 0))
        at = put_number(at, TAG_DOCUMENT_MS, <unsigned long long>max(<long long>held[1], 0))
        at = put_number(at, TAG_DOCUMENT, <size_t>len(document))
        size = <size_t>(at - report)
        self.under_way.append((device_num, held))
        out = put_number(out, TAG_REPORTS, size + <size_t>len(document))
        memcpy(out, report, size)
        memcpy(out + size, <const unsigned char*>document, <size_t>len(document))
        return <size_t>(out - start) + size + <size_t>len(document)

    cdef size_t put_report(self, size_t slot, unsigned char* out) except 0:
        """Write one field `reports` and forget that it was news. Returns its size."""
        cdef State* state = &self.at[slot]
        cdef unsigned char[REPORT_BYTES] report
        cdef unsigned int device_num = self.index.devices[slot].device_num
        cdef unsigned char* at = put_number(report, TAG_DEVICE_NUM, device_num)
        cdef unsigned char* start = out
        cdef tuple held
        cdef size_t size, document_size = 0
        cdef bytes document = b""
        at = put_number(at, TAG_LAST_SEEN_MS, <unsigned long long>max(state.seen_ms, 0))
        if state.flags & STATE_HAS_READING:
            at = put_number(at, TAG_LAST_READING_MS, <unsigned long long>max(state.reading_ms, 0))
        if state.flags & STATE_HAS_CONNECTION:
            at = put_number(at, TAG_CONNECTION, CONNECTION_OPEN if state.connections else CONNECTION_CLOSED)
            at = put_number(at, TAG_CONNECTION_MS, <unsigned long long>max(state.connection_ms, 0))
            if state.connections == 0:
                at = put_number(at, TAG_OPENED_MS, <unsigned long long>max(state.opened_ms, 0))
                at = put_bytes(at, TAG_DISCONNECT_REASON, <bytes>self.reasons[state.reason])
        if state.flags & STATE_HAS_DOCUMENT:
            held = self.documents.get(device_num)
            if held is None:
                # Made anew since, under another number: what the one before it said is told by that one's number.
                self.found.extend(self.documents)
            else:
                self.under_way.append((device_num, held))
                document = held[0]
                document_size = <size_t>len(document)
                at = put_number(at, TAG_DOCUMENT_MS, <unsigned long long>max(<long long>held[1], 0))
                at = put_number(at, TAG_DOCUMENT, document_size)
        size = <size_t>(at - report)
        out = put_number(out, TAG_REPORTS, size + document_size)
        memcpy(out, report, size)
        memcpy(out + size, <const unsigned char*>document, document_size)
        state.flags = 0
        return <size_t>(out - start) + size + document_size

    def greeting(self) -> bytes:
        """A request that only says that this node is there."""
        return self.head

    def tell_connections_again(self) -> None:
        """The registry may have given up what we have connected: it is news once more."""
        cdef size_t slot
        for slot in range(self.capacity):
            if self.at[slot].connections:
                self.at[slot].flags |= STATE_HAS_CONNECTION
                if not self.at[slot].flags & STATE_LISTED:
                    self.note(slot)

    @property
    def left(self) -> int:
        """Of the round, those not looked at yet, and documents of an earlier run."""
        return self.round_count - self.round_at + <size_t>len(self.found)

    def counters(self) -> dict:
        """`waiting` devices with news and `document_bytes` now; `told`, `documents`, `documents_refused` ever."""
        return {
            "waiting": self.listed_count + self.round_count - self.round_at,
            "document_bytes": self.document_bytes,
            "told": self.told,
            "documents": self.documents_taken,
            "documents_refused": self.documents_refused,
        }
