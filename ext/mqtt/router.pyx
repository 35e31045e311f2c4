# cython: language_level=3
"""Sessions, and what goes to whom: subscriptions, retained messages, wills, and the times they wait for."""

from heapq import heapify, heappop, heappush

from ext.mqtt.message cimport NEVER, Message, expiry_of, monotonic_ms
from ext.mqtt.outbox cimport Delivery, Link, RetainedBatch, Traffic
from ext.mqtt.packet cimport FilterRequest
from ext.mqtt.reason cimport RC_QUOTA_EXCEEDED
from ext.mqtt.retained cimport Retained
from ext.mqtt.session cimport Session
from ext.mqtt.subscriptions cimport (
    Match, Matches, SharedGroup, Subscription, Subscriptions, combine, split_shared,
)
from ext.telemetry.index cimport DeviceIndex

cdef frozenset DOWNLINKS = frozenset({b"commands", b"config", b"firmware"})

cdef enum:
    SPARE_TIMERS = 1_024


cdef class Router:
    def __cinit__(self, DeviceIndex index not None, object on_will, *, size_t max_sessions, unsigned int max_expiry_s,
                  size_t max_subscriptions, size_t max_retained, size_t max_retained_bytes,
                  size_t max_retained_of_device, size_t queue_messages, size_t queue_bytes, size_t total_queue_bytes):
        self.index = index
        self.on_will = on_will
        self.max_sessions = max_sessions
        self.max_expiry_s = max_expiry_s
        self.max_subscriptions = max_subscriptions
        self.subscriptions = Subscriptions()
        self.retained = Retained(max_retained, max_retained_bytes, max_retained_of_device)
        self.traffic = Traffic()
        self.traffic.queue_messages = queue_messages
        self.traffic.queue_bytes = queue_bytes
        self.traffic.total_queue_bytes = total_queue_bytes
        self.sessions = {}
        self.timers = []
        self.remote = {}

    # Sessions

    cdef Session open(self, bytes key, object owner, int device, unsigned int expiry_s):
        """A new session, in place of none. One too many ends with its connection, which MQTT 5 clients are told."""
        cdef Session session = Session(key, owner, device, self.traffic)
        if expiry_s and <size_t>len(self.sessions) >= self.max_sessions:
            self.sessions_refused += 1
            expiry_s = 0
        session.expiry_s = expiry_s
        self.sessions[key] = session
        return session

    cdef int rejoin(self, Session session, Link link) except -1:
        """A connection takes the session up: the will that waits is not sent ([MQTT-3.1.3-9]), messages are."""
        session.link = link
        session.ends_ms = session.will_ms = NEVER
        if session.outbox is not None:
            session.outbox.resume(link)
        return 0

    cdef int part(self, Session session) except -1:
        """The connection has gone."""
        session.link = None
        if session.expiry_s == 0:
            return self.end(session)
        session.ends_ms = expiry_of(session.expiry_s)
        if session.will is not None:
            if session.will.delay_s == 0:
                self.fire(session)
            else:
                session.will_ms = expiry_of(session.will.delay_s)
        return self.schedule(session)

    cdef int end(self, Session session) except -1:
        """The session ends: its will is sent if it still waits, its subscriptions and messages are forgotten."""
        cdef Subscription subscription
        cdef Delivery delivery
        cdef list orphans = []
        if session.has_ended:
            return 0
        session.has_ended = True
        session.link = None
        del self.sessions[session.key]
        if session.subscriptions is not None:
            for subscription in list(session.subscriptions.values()):
                self.detach(subscription)
            session.subscriptions = None
        if session.outbox is not None:
            orphans = session.outbox.drop()
            session.outbox = None
        self.fire(session)
        for delivery in orphans:
            self.pass_on(delivery)
        return 0

    cdef int release(self, Session session) except -1:
        """Forget a session that another process has taken: nothing of it ends, so nothing is sent."""
        session.will = None
        if session.outbox is not None:
            session.outbox.drop()
            session.outbox = None
        return self.end(session)

    cdef int pass_on(self, Delivery delivery) except -1:
        """A message of a shared subscription whose member has ended goes to another one (section 4.8.2)."""
        cdef SharedGroup group = delivery.group
        cdef Subscription member = group.choose() if group.members else None
        if member is not None and member.session is not None and not delivery.message.is_expired():
            give_member(member, delivery.message, group)
        return 0

    cdef int fire(self, Session session) except -1:
        will = session.will
        session.will = None
        session.will_ms = NEVER
        if will is not None and not self.is_closing:
            self.on_will(session, will)
        return 0

    # Time

    cdef int schedule(self, Session session) except -1:
        """See to it that tick() looks at the session in time. Mostly it has an entry that is early enough."""
        cdef long long due = min(session.ends_ms, session.will_ms)
        if due >= session.timer_ms:
            return 0
        if len(self.timers) > 2 * len(self.sessions) + SPARE_TIMERS:
            self.timers = [entry for entry in self.timers if not (<Session>entry[2]).has_ended]
            heapify(self.timers)
        self.timer_count += 1
        heappush(self.timers, (due, self.timer_count, session))
        session.timer_ms = due
        return 0

    cdef int tick(self) except -1:
        cdef long long now = monotonic_ms()
        cdef Session session
        while self.timers and self.timers[0][0] <= now:
            session = heappop(self.timers)[2]
            session.timer_ms = NEVER
            if session.has_ended or session.link is not None:
                continue
            if session.will_ms <= now:
                self.fire(session)
            if session.ends_ms <= now:
                self.sessions_expired += 1
                self.end(session)
            else:
                self.schedule(session)
        return 0

    # Subscriptions

    cdef int subscribe(self, Session session, bytes filter, FilterRequest* request, unsigned int identifier,
                       int child, list batches) except -1:
        """Returns the reason code. Retained messages that are to follow the SUBACK are put into `batches`."""
        cdef Subscription subscription, old = None
        cdef RetainedBatch batch
        cdef list found
        inner, group = split_shared(filter)
        if session.subscriptions is None:
            session.subscriptions = {}
        old = session.subscriptions.get(filter)
        if old is not None:
            self.detach(old)
        elif <size_t>len(session.subscriptions) >= self.max_subscriptions:
            return RC_QUOTA_EXCEEDED
        subscription = Subscription(
            session, filter, request.qos, identifier, request.is_no_local, request.keeps_retain, child
        )
        self.attach(subscription)
        if group is None and (request.retain_handling == 0 or (request.retain_handling == 1 and old is None)):
            found = self.retained.match(inner) if self.retained.count else None
            if found:
                batch = RetainedBatch.__new__(RetainedBatch)
                batch.messages = found
                batch.qos = request.qos
                batch.identifiers = (identifier,) if identifier else None
                batches.append(batch)
        return request.qos

    cdef bint unsubscribe(self, Session session, bytes filter) except -1:
        cdef Subscription subscription
        if session is None or session.subscriptions is None:
            return False
        subscription = session.subscriptions.get(filter)
        if subscription is None:
            return False
        self.detach(subscription)
        return True

    cdef int attach(self, Subscription subscription) except -1:
        cdef Session session = subscription.session
        if session.subscriptions is None:
            session.subscriptions = {}
        session.subscriptions[subscription.filter] = subscription
        self.subscriptions.add(subscription)
        if self.announced is not None:
            told = as_told(subscription.filter)
            count = self.announced.get(told, 0)
            self.announced[told] = count + 1
            if count == 0:
                self.on_filters()
        return 0

    cdef int detach(self, Subscription subscription) except -1:
        del subscription.session.subscriptions[subscription.filter]
        self.subscriptions.remove(subscription)
        if self.announced is not None:
            told = as_told(subscription.filter)
            self.announced[told] -= 1
            if self.announced[told] == 0:
                del self.announced[told]
                self.on_filters()
        return 0

    def set_remote_filters(self, list filters not None) -> None:
        """See Hub.set_remote_filters. Raises ValueError for one that is not valid."""
        cdef Subscription subscription
        wanted = set(filters)
        for filter in wanted:
            if split_shared(filter) is None:
                raise ValueError(f"not a filter: {filter!r}")
        for filter in [filter for filter in self.remote if filter not in wanted]:
            self.subscriptions.remove(self.remote.pop(filter))
        for filter in wanted:
            if filter not in self.remote:
                subscription = self.remote[filter] = Subscription(None, filter)
                self.subscriptions.add(subscription)

    # Messages

    cdef int publish(self, Message message, Session publisher, object owner) except -1:
        """Retain and deliver. Returns for how many sessions it was sent or kept.

        `publisher` is None where it has no session; `owner` is the device it counts for when retained, or None.
        """
        cdef Matches matches
        if message.is_retained:
            self.retained.put(message, owner)
        matches = self.subscriptions.match(message.topic)
        if matches is not None:
            return self.spread(message, matches, publisher)
        if message.is_retained and self.on_remote is not None:
            self.tell(message, False, [])
        return 0

    cdef int publish_here(self, Message message, list groups, object is_wanted) except -1:
        """The same within this process. `groups`: only these shared filters, and others not if not `is_wanted`;
        None: all that match."""
        cdef int given = 0
        cdef Matches matches
        cdef Match match
        cdef SharedGroup group
        cdef Subscription member
        if message.is_retained:
            self.retained.put(message, None)
        matches = self.subscriptions.match(message.topic)
        if matches is None:
            return 0
        if groups is None or is_wanted:
            for match in matches.direct:
                given += self.give(match, message, None)
        for group in matches.groups:
            member = group.choose_here() if groups is None or group.filter() in groups else None
            if member is not None and self.holds(member):
                given += give_member(member, message, group)
        return given

    cdef int spread(self, Message message, Matches matches, Session publisher) except -1:
        cdef int given = 0
        cdef Match match
        cdef SharedGroup group
        cdef Subscription member
        cdef list elsewhere = []
        for match in matches.direct:
            given += self.give(match, message, publisher)
        for group in matches.groups:
            member = group.choose()
            if member is None:
                continue
            if member.session is None:
                elsewhere.append(member.filter)
            elif self.holds(member):
                given += give_member(member, message, group)
        if self.on_remote is not None and (matches.is_remote or elsewhere or message.is_retained):
            self.tell(message, matches.is_remote, elsewhere)
        return given

    def tell(self, Message message not None, bint is_wanted, list groups not None) -> None:
        """To other processes: see Hub.announce."""
        expiry_s = None
        if message.expires_ms != NEVER:
            expiry_s = max(0, (message.expires_ms - monotonic_ms() + 999) // 1000)
        self.on_remote(
            message.topic, message.payload, message.qos, message.is_retained, message.properties, expiry_s, is_wanted,
            groups,
        )

    cdef int give(self, Match match, Message message, Session publisher) except -1:
        cdef Subscription subscription = match.only
        cdef list left
        if subscription is not None:
            if (subscription.is_no_local and match.session is publisher) or not self.holds(subscription):
                return 0
        else:
            left = []
            for subscription in match.several:
                if self.holds(subscription) and not (subscription.is_no_local and match.session is publisher):
                    left.append(subscription)
            if not left:
                return 0
            if len(left) < len(match.several):
                match = combine(left)
        return match.session.give(
            message, min(message.qos, match.qos), message.is_retained and match.keeps_retain, match.identifiers, None
        )

    cdef bint holds(self, Subscription subscription) noexcept:
        """Whether a gateway's subscription for a device is still its business: the device may have moved."""
        if subscription.child < 0:
            return True
        return self.index.at(subscription.child).gateway_num \
            == self.index.at(subscription.session.device).device_num


cdef int give_member(Subscription member, Message message, SharedGroup group) except -1:
    return member.session.give(
        message, min(message.qos, member.qos), message.is_retained and member.keeps_retain,
        (member.identifier,) if member.identifier else None, group,
    )


cdef bytes as_told(bytes filter):
    """A filter as other processes are told of it: `cf/v1/d/{id}/commands` of many devices is one."""
    cdef list levels = filter.split(b"/", 5)
    if len(levels) >= 5 and levels[0] == b"cf" and levels[1] == b"v1" and levels[2] == b"d" and levels[4] in DOWNLINKS:
        levels[3] = b"+"
        return b"/".join(levels)
    return filter
