# cython: language_level=3
"""A load generator that costs little: many MQTT connections in one thread, PUBLISH packets patched from templates.

MQTT 3.1.1, QoS 1, so that a PUBACK is four bytes. Every packet of a connection is its template with the next packet id
and the next event time, so that each reading has an identity of its own and the count of what is stored is a proof.
"""

import os
import socket
import struct
import time
from typing import NamedTuple

from libc.errno cimport EAGAIN, EINTR
from libc.errno cimport errno as c_errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* to, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        unsigned int u32
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int what, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int most, int timeout_ms)
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* to)
    enum:
        CLOCK_MONOTONIC
        CLOCK_PROCESS_CPUTIME_ID

TIME_NONE = 0       # packets are the same but for their id
TIME_VARINT = 1     # six bytes of a protobuf sint64: milliseconds
TIME_DECIMAL = 2    # fourteen characters: seconds, a point, milliseconds
TIME_CBOR = 3       # eight bytes of a CBOR double: seconds

cdef enum:
    NONE = 0
    VARINT = 1
    DECIMAL = 2
    CBOR = 3
    MAX_EVENTS = 1024
    ROOM = 1 << 18                  # of what is sent and received at once
    SUB_BUCKETS = 32                # per power of two: latencies to 3 %
    BUCKETS = 64 * SUB_BUCKETS
    MAX_WINDOW = 65535
    IP_BIND_ADDRESS_NO_PORT = 24

cdef struct Link:
    int fd
    unsigned char* packet
    unsigned int size
    unsigned int id_at
    unsigned int time_at
    unsigned int ack_bytes          # of a PUBACK that has not come whole
    unsigned long long sent
    unsigned long long acked
    unsigned char* rest             # what the socket has not taken yet
    size_t rest_at, rest_size, rest_room
    long long sent_ns               # when the last message went
    bint is_broken


class Template(NamedTuple):
    """One connection: who it is, and its PUBLISH packet with the places of packet id and time in it."""

    client_id: str
    token: str
    packet: bytes
    id_at: int
    time_at: int


cdef inline long long clock_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <long long>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline int bucket_of(unsigned long long us) noexcept nogil:
    cdef int power = 0
    cdef unsigned long long rest = us
    if us < SUB_BUCKETS:
        return <int>us
    while rest >= 2 * SUB_BUCKETS:
        rest >>= 1
        power += 1
    return (power + 1) * SUB_BUCKETS + <int>(rest - SUB_BUCKETS)


cdef void patch(unsigned char* to, Link* link, int time_kind, long long time_ms) noexcept nogil:
    cdef unsigned int number = <unsigned int>(link.sent % MAX_WINDOW) + 1
    cdef unsigned char* at = to + link.time_at
    cdef unsigned long long left, bits
    cdef double seconds
    cdef int i
    to[link.id_at] = <unsigned char>(number >> 8)
    to[link.id_at + 1] = <unsigned char>number
    if time_kind == VARINT:
        left = <unsigned long long>time_ms << 1
        for i in range(5):
            at[i] = <unsigned char>(left & 0x7F | 0x80)
            left >>= 7
        at[5] = <unsigned char>left
    elif time_kind == DECIMAL:
        left = <unsigned long long>(time_ms % 1000)
        for i in range(3):
            at[13 - i] = <unsigned char>(48 + left % 10)
            left //= 10
        left = <unsigned long long>(time_ms // 1000)
        for i in range(10):
            at[9 - i] = <unsigned char>(48 + left % 10)
            left //= 10
    elif time_kind == CBOR:
        seconds = time_ms / 1000.0
        memcpy(&bits, &seconds, 8)
        for i in range(8):
            at[i] = <unsigned char>(bits >> (56 - 8 * i))


cdef class Generator:
    """`connect`, then `run` any number of times, then `drain`. Not for two threads.

    Args:
        templates: one per connection.
        time_kind: how the event time stands in the packets; message n of a connection gets base_ms + n * step_ms.
        sources: addresses to connect from, taken in turn; one of them holds about 28,000 connections.
    """

    cdef Link* links
    cdef size_t count
    cdef int epoll, time_kind
    cdef long long base_ms, step_ms
    cdef unsigned char* scratch
    cdef unsigned long long[BUCKETS] histogram
    cdef list sockets, connects
    cdef object host, sources
    cdef int port
    cdef size_t broken

    def __cinit__(self):
        self.epoll = -1

    def __init__(self, host, port, templates, time_kind, base_ms, step_ms, sources=()):
        cdef size_t i
        cdef Link* link
        cdef bytes packet
        self.host, self.port, self.sources = host, port, tuple(sources) or ("",)
        self.time_kind, self.base_ms, self.step_ms = time_kind, base_ms, step_ms
        self.sockets, self.connects = [], []
        self.count = len(templates)
        self.links = <Link*>calloc(self.count, sizeof(Link))
        self.scratch = <unsigned char*>malloc(ROOM)
        if self.links == NULL or self.scratch == NULL:
            raise MemoryError
        for i, template in enumerate(templates):
            link = &self.links[i]
            link.fd = -1
            packet = template.packet
            link.size, link.id_at, link.time_at = len(packet), template.id_at, template.time_at
            if link.size > ROOM // 2 or link.id_at + 2 > link.size or (time_kind and link.time_at + 14 > link.size + 8):
                raise ValueError(f"the packet of {template.client_id} cannot be patched")
            link.packet = <unsigned char*>malloc(link.size)
            if link.packet == NULL:
                raise MemoryError
            memcpy(link.packet, <const unsigned char*>packet, link.size)
            self.connects.append(connect_packet(template.client_id, template.token))
        self.epoll = epoll_create1(0)
        if self.epoll < 0:
            raise OSError(c_errno, os.strerror(c_errno))

    def __dealloc__(self):
        cdef size_t i
        if self.epoll >= 0:
            os.close(self.epoll)
        if self.links != NULL:
            for i in range(self.count):
                free(self.links[i].packet)
                free(self.links[i].rest)
        free(self.links)
        free(self.scratch)

    def connect(self, timeout_s, at_once=512) -> float:
        """Open all connections, `at_once` at a time. Returns how long it took.

        Raises: ConnectionError if one is refused, TimeoutError.
        """
        cdef epoll_event event
        began = time.monotonic()
        for first in range(0, self.count, at_once):
            group = range(first, min(first + at_once, self.count))
            for number in group:
                one = socket.socket()
                source = self.sources[number % len(self.sources)]
                if source:
                    one.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                    one.bind((source, 0))
                one.settimeout(max(0.1, began + timeout_s - time.monotonic()))
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.connect((self.host, self.port))
                one.sendall(self.connects[number])
                self.sockets.append(one)
            for number in group:
                one = self.sockets[number]
                answer = b""
                while len(answer) < 4:
                    one.settimeout(max(0.1, began + timeout_s - time.monotonic()))
                    more = one.recv(4 - len(answer))
                    if not more:
                        break
                    answer += more
                if answer != b"\x20\x02\x00\x00":
                    raise ConnectionError(f"connection {number} was refused: {answer.hex()}")
                one.setblocking(False)
                self.links[number].fd = one.fileno()
                event.events = EPOLLIN
                event.data.u32 = number
                if epoll_ctl(self.epoll, EPOLL_CTL_ADD, one.fileno(), &event):
                    raise OSError(c_errno, os.strerror(c_errno))
        return time.monotonic() - began

    @property
    def sent(self) -> int:
        """Messages."""
        cdef size_t i
        total = 0
        for i in range(self.count):
            total += self.links[i].sent
        return total

    @property
    def acked(self) -> int:
        """Messages."""
        cdef size_t i
        total = 0
        for i in range(self.count):
            total += self.links[i].acked
        return total

    def run(self, duration_s, window, rate=0.0, max_per_link=0) -> dict:
        """Send for so long, then stop sending; what is on its way is still read by `drain`.

        Args:
            window: messages of a connection that may be unacknowledged; 1: each waits for its PUBACK, and its latency
                is recorded.
            rate: messages a second of all connections together, by the clock, whatever was answered; 0: as the
                windows allow.
            max_per_link: messages of a connection in all its runs; 0: no limit.
        Returns: `seconds`, `cpu_s`, `sent` and `acked` of this run, `late_s`: the most that sending was behind `rate`.
        Raises: ConnectionError if a connection broke.
        """
        cdef long long began, cpu, end, now, late = 0
        cdef unsigned long long limit = max_per_link or 0xFFFFFFFFFFFFFFFF
        cdef unsigned int most = min(window, MAX_WINDOW)
        cdef double per_ns = rate / 1e9
        before_sent, before_acked = self.sent, self.acked
        cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID)
        began = clock_ns(CLOCK_MONOTONIC)
        end = began + <long long>(duration_s * 1e9)
        with nogil:
            late = self._run(began, end, most, per_ns, limit)
        now = clock_ns(CLOCK_MONOTONIC)
        if self.broken:
            raise ConnectionError(f"{self.broken} connections broke")
        return {
            "seconds": (now - began) / 1e9,
            "cpu_s": (clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e9,
            "sent": self.sent - before_sent,
            "acked": self.acked - before_acked,
            "late_s": late / 1e9,
        }

    cdef long long _run(self, long long began, long long end, unsigned int window, double per_ns,
                        unsigned long long limit) noexcept nogil:
        cdef epoll_event[MAX_EVENTS] events
        cdef long long now = began, late = 0
        cdef unsigned long long due, planned = 0
        cdef size_t i, turn = 0
        cdef int found, n, timeout_ms
        cdef Link* link
        if per_ns == 0:
            for i in range(self.count):
                self._fill(&self.links[i], window, limit, now)
        while now < end and not self.broken:
            timeout_ms = 1 if per_ns else <int>min(<long long>100, (end - now) // 1_000_000 + 1)
            found = epoll_wait(self.epoll, events, MAX_EVENTS, timeout_ms)
            now = clock_ns(CLOCK_MONOTONIC)
            for n in range(found):
                link = &self.links[events[n].data.u32]
                self._read(link, events[n].events, now, window == 1)
                if events[n].events & EPOLLOUT:
                    self._flush(link)
                if per_ns == 0 and now < end:
                    self._fill(link, window, limit, now)
            if per_ns:
                due = <unsigned long long>((now - began) * per_ns)
                if due > planned:
                    late = max(late, <long long>((due - planned) / per_ns) - 2_000_000)
                while planned < due:
                    # By runs of one connection: writes of a few messages, as they would come from as many devices.
                    link = &self.links[turn]
                    turn = turn + 1 if turn + 1 < self.count else 0
                    i = min(<size_t>8, due - planned)
                    self._put(link, i, now)
                    planned += i
        return late

    cdef void _fill(self, Link* link, unsigned int window, unsigned long long limit, long long now) noexcept nogil:
        """Send what the window allows."""
        cdef unsigned long long free_ = link.acked + window - link.sent
        if link.rest_size or link.is_broken or link.sent >= limit:
            return
        # Half a window at a time: a large write costs little more than a small one.
        if free_ == 0 or (free_ < window // 2 and link.sent - link.acked > 0):
            return
        self._put(link, min(free_, limit - link.sent), now)

    cdef void _put(self, Link* link, unsigned long long messages, long long now) noexcept nogil:
        cdef size_t at = 0
        cdef ssize_t done
        while messages and not link.is_broken:
            at = 0
            while messages and at + link.size <= ROOM:
                memcpy(self.scratch + at, link.packet, link.size)
                patch(self.scratch + at, link, self.time_kind, self.base_ms + <long long>link.sent * self.step_ms)
                at += link.size
                link.sent += 1
                messages -= 1
            link.sent_ns = now
            done = 0
            if link.rest_size == 0:
                done = send(link.fd, self.scratch, at, MSG_DONTWAIT | MSG_NOSIGNAL)
                if done < 0:
                    if c_errno != EAGAIN and c_errno != EINTR:
                        self._break(link)
                        return
                    done = 0
            if <size_t>done < at:
                self._keep(link, self.scratch + done, at - done)

    cdef void _keep(self, Link* link, const unsigned char* data, size_t size) noexcept nogil:
        cdef void* more
        if link.rest_at + link.rest_size + size > link.rest_room:
            memmove(link.rest, link.rest + link.rest_at, link.rest_size)
            link.rest_at = 0
            if link.rest_size + size > link.rest_room:
                more = realloc(link.rest, link.rest_size + size)
                if more == NULL:
                    self._break(link)
                    return
                link.rest = <unsigned char*>more
                link.rest_room = link.rest_size + size
        if link.rest_size == 0:
            self._listen(link, EPOLLIN | EPOLLOUT)
        memcpy(link.rest + link.rest_at + link.rest_size, data, size)
        link.rest_size += size

    cdef void _flush(self, Link* link) noexcept nogil:
        cdef ssize_t done
        if link.rest_size == 0 or link.is_broken:
            return
        done = send(link.fd, link.rest + link.rest_at, link.rest_size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if done < 0:
            if c_errno != EAGAIN and c_errno != EINTR:
                self._break(link)
            return
        link.rest_at += done
        link.rest_size -= done
        if link.rest_size == 0:
            link.rest_at = 0
            self._listen(link, EPOLLIN)

    cdef void _listen(self, Link* link, unsigned int to) noexcept nogil:
        cdef epoll_event event
        event.events = to
        event.data.u32 = <unsigned int>(link - self.links)
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, link.fd, &event)

    cdef void _read(self, Link* link, unsigned int events, long long now, bint is_timed) noexcept nogil:
        cdef ssize_t got
        cdef unsigned int whole
        if link.is_broken or not events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            return
        got = recv(link.fd, self.scratch, ROOM, MSG_DONTWAIT)
        if got <= 0:
            if got == 0 or (c_errno != EAGAIN and c_errno != EINTR):
                self._break(link)
            return
        if link.ack_bytes == 0 and self.scratch[0] != 0x40:
            self._break(link)
            return
        whole = (link.ack_bytes + <unsigned int>got) // 4
        link.ack_bytes = (link.ack_bytes + <unsigned int>got) % 4
        link.acked += whole
        if is_timed and whole:
            self.histogram[bucket_of(<unsigned long long>(now - link.sent_ns) // 1000)] += 1

    cdef void _break(self, Link* link) noexcept nogil:
        if not link.is_broken:
            link.is_broken = True
            self.broken += 1

    def drain(self, timeout_s) -> int:
        """Wait for the PUBACKs that are missing. Returns how many still are."""
        cdef epoll_event[MAX_EVENTS] events
        cdef int found, n
        deadline = time.monotonic() + timeout_s
        while (missing := self.sent - self.acked) and time.monotonic() < deadline and not self.broken:
            with nogil:
                found = epoll_wait(self.epoll, events, MAX_EVENTS, 20)
            for n in range(found):
                self._read(&self.links[events[n].data.u32], events[n].events, 0, False)
                if events[n].events & EPOLLOUT:
                    self._flush(&self.links[events[n].data.u32])
        return missing

    def latencies_us(self) -> dict[float, int]:
        """Counts by latency in microseconds (the middle of a bucket, 3 % wide), since the connections were opened."""
        found = {}
        for number in range(<int>BUCKETS):
            if self.histogram[number]:
                power, place = divmod(number, SUB_BUCKETS)
                low = number if power == 0 else (SUB_BUCKETS + place) << (power - 1)
                width = 1 if power <= 1 else 1 << (power - 1)
                found[low + width / 2] = self.histogram[number]
        return found

    def close(self) -> None:
        for one in self.sockets:
            one.close()
        self.sockets = []


def connect_packet(client_id, token) -> bytes:
    """MQTT 3.1.1 CONNECT, clean session, keep-alive off; the user name is the client id."""
    def text(value):
        data = value.encode()
        return struct.pack(">H", len(data)) + data

    body = text("MQTT") + bytes((4, 0xC2)) + struct.pack(">H", 0) + text(client_id) + text(client_id) + text(token)
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return b"\x10" + bytes(length) + body
