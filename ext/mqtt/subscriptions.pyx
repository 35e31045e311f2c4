# cython: language_level=3
"""Who wants which topics: filters without wildcards in a table, the others in a trie, shared groups beside both."""

from libc.string cimport memchr

from ext.mqtt.packet cimport is_filter
from ext.mqtt.outbox cimport Traffic
from ext.mqtt.session cimport Session

cdef enum:
    CACHED_TOPICS = 16_384
    CACHED_TOPIC_BYTES = 256


cdef bint has_wildcard(bytes filter) noexcept:
    cdef const unsigned char* at = filter
    cdef size_t size = <size_t>len(filter)
    return memchr(at, b"+", size) != NULL or memchr(at, b"#", size) != NULL


cdef tuple split_shared(bytes filter):
    """Section 4.8.2. Also None for a filter with more levels than are walked."""
    cdef bytes inner = filter
    cdef bytes group = None
    cdef list parts
    if filter.startswith(b"$share/"):
        parts = filter.split(b"/", 2)
        if len(parts) < 3 or not parts[1] or has_wildcard(parts[1]):
            return None
        group, inner = parts[1], parts[2]
    if not is_filter(inner, <size_t>len(inner)) or inner.count(b"/") >= MAX_LEVELS:
        return None
    return inner, group


cdef bint may_match_telemetry(bytes filter) except -1:
    """Whether any topic cf/v1/{d|g}/{id}/telemetry[/{encoding}] could match."""
    cdef list levels = filter.split(b"/")
    cdef Py_ssize_t i
    for i in range(len(levels)):
        level = levels[i]
        if level == b"#":
            return True
        if i > 5:
            return False
        if level == b"+" or i == 3 or i == 5:
            continue
        if i == 2:
            if level != b"d" and level != b"g":
                return False
        elif level != (b"cf", b"v1", b"", b"", b"telemetry")[i]:
            return False
    return len(levels) >= 5


cdef class Subscription:
    def __cinit__(self, Session session, bytes filter not None, int qos=0, unsigned int identifier=0,
                  bint is_no_local=False, bint keeps_retain=False, int child=-1):
        self.session = session
        self.filter = filter
        self.qos = <unsigned char>qos
        self.identifier = identifier
        self.is_no_local = is_no_local
        self.keeps_retain = keeps_retain
        self.child = child


cdef class SharedGroup:
    """Members of $share/{name}/{filter}: each message goes to one of them."""

    def __cinit__(self, bytes name not None):
        self.name = name
        self.members = []

    cdef Subscription choose(self):
        """The next in turn who can take a message at once; else one who is connected; else one who is away.

        Another process stands behind those who are connected here: whether its members are, nobody knows.
        """
        cdef size_t count = <size_t>len(self.members)
        cdef size_t i
        cdef Subscription member, here = None, remote = None, away = None
        for i in range(count):
            member = self.members[(self.turn + i) % count]
            if member.session is None:
                remote = member
            elif member.session.takes():
                self.turn = (self.turn + i + 1) % count
                return member
            elif member.session.link is not None:
                here = here or member
            elif member.qos:
                away = away or member
        self.turn = (self.turn + 1) % count
        return here or remote or away

    cdef Subscription choose_here(self):
        """The same among the members of this process."""
        cdef Subscription chosen = self.choose()
        cdef Subscription member
        if chosen is not None and chosen.session is None:
            chosen = None
            for member in self.members:
                if member.session is not None and member.qos:
                    chosen = member
        return chosen

    cdef bytes filter(self):
        """As its members asked for it."""
        cdef Subscription member = self.members[0]
        return member.filter


cdef Match combine(list subscriptions):
    """One delivery for overlapping subscriptions of one session: highest QoS, all identifiers ([MQTT-3.3.4-2, -4])."""
    cdef Match match = Match.__new__(Match)
    cdef Subscription subscription
    cdef list identifiers = []
    if len(subscriptions) == 1:
        match.only = subscriptions[0]
    else:
        match.several = subscriptions
    for subscription in subscriptions:
        match.session = subscription.session
        match.qos = max(match.qos, subscription.qos)
        match.keeps_retain |= subscription.keeps_retain
        match.has_no_local |= subscription.is_no_local
        if subscription.identifier:
            identifiers.append(subscription.identifier)
    if identifiers:
        match.identifiers = tuple(identifiers)
    return match


cdef class Subscriptions:
    def __cinit__(self):
        self.root = Node()
        self.exact = {}
        self.cache = {}

    cdef int add(self, Subscription subscription) except -1:
        """Its filter must be valid: split_shared(), whose group it then joins."""
        cdef Node node
        cdef SharedGroup group
        inner, name = split_shared(subscription.filter)
        node = self.node_of(inner)
        subscription.node = node
        subscription.sees_telemetry = may_match_telemetry(inner)
        if name is None:
            subscription.after = node.first
            if node.first is not None:
                node.first.before = subscription
            node.first = subscription
        else:
            if node.groups is None:
                node.groups = {}
            group = node.groups.get(name)
            if group is None:
                group = node.groups[name] = SharedGroup(name)
            group.members.append(subscription)
            subscription.group = group
            self.shared += 1
        self.count += 1
        self.telemetry_watchers += subscription.sees_telemetry
        self.cache.clear()
        return 0

    cdef Node node_of(self, bytes inner):
        cdef Node node, child
        if not has_wildcard(inner):
            node = self.exact.get(inner)
            if node is None:
                node = self.exact[inner] = Node()
                node.level = inner
            return node
        node = self.root
        for level in inner.split(b"/"):
            if level == b"+":
                if node.single is None:
                    node.single = new_child(node, level)
                node = node.single
            elif level == b"#":
                if node.multi is None:
                    node.multi = new_child(node, level)
                node = node.multi
            else:
                if node.children is None:
                    node.children = {}
                child = node.children.get(level)
                if child is None:
                    child = node.children[level] = new_child(node, level)
                node = child
        return node

    cdef int remove(self, Subscription subscription) except -1:
        cdef Node node = subscription.node
        if node is None:
            return 0
        subscription.node = None
        if subscription.group is not None:
            subscription.group.members.remove(subscription)
            if not subscription.group.members:
                del node.groups[subscription.group.name]
                if not node.groups:
                    node.groups = None
            subscription.group = None
            self.shared -= 1
        else:
            if subscription.before is not None:
                subscription.before.after = subscription.after
            else:
                node.first = subscription.after
            if subscription.after is not None:
                subscription.after.before = subscription.before
            subscription.before = subscription.after = None
        self.count -= 1
        self.telemetry_watchers -= subscription.sees_telemetry
        self.cache.clear()
        return self.prune(node)

    cdef int prune(self, Node node) except -1:
        """Forget a filter that nobody has any more, and the levels above that only it needed."""
        cdef Node parent
        while node.first is None and node.groups is None and not node.children \
                and node.single is None and node.multi is None:
            parent = node.parent
            if parent is None:
                if node is not self.root:
                    del self.exact[node.level]
                return 0
            if parent.single is node:
                parent.single = None
            elif parent.multi is node:
                parent.multi = None
            else:
                del parent.children[node.level]
            node.parent = None
            node = parent
        return 0

    cdef Matches match(self, bytes topic):
        """None if nobody wants it. Valid until the next add() or remove()."""
        cdef Matches matches
        cdef list found = [], groups = []
        cdef dict by_session
        cdef Subscription subscription
        cdef Node node
        cdef list levels
        if self.count == 0:
            return None
        if topic in self.cache:
            return self.cache[topic]
        node = self.exact.get(topic)
        if node is not None:
            collect(node, found, groups)
        if self.root.children is not None or self.root.single is not None or self.root.multi is not None:
            levels = topic.split(b"/", MAX_LEVELS)      # deeper ones cannot differ: no filter has more levels
            walk(self.root, levels, 0, len(levels), topic.startswith(b"$"), found, groups)
        matches = None
        if found or groups:
            matches = Matches.__new__(Matches)
            matches.groups = groups
            matches.direct = []
            by_session = {}
            for subscription in found:
                if subscription.session is None:
                    matches.is_remote = True
                else:
                    by_session.setdefault(subscription.session, []).append(subscription)
            matches.direct = [combine(subscriptions) for subscriptions in by_session.values()]
        if len(topic) <= CACHED_TOPIC_BYTES:
            if len(self.cache) >= CACHED_TOPICS:
                self.cache.clear()
            self.cache[topic] = matches
        return matches


cdef Node new_child(Node parent, bytes level):
    cdef Node node = Node()
    node.parent = parent
    node.level = level
    return node


cdef int collect(Node node, list found, list groups) except -1:
    cdef Subscription subscription = node.first
    while subscription is not None:
        found.append(subscription)
        subscription = subscription.after
    if node.groups is not None:
        groups.extend(node.groups.values())
    return 0


cdef int walk(Node node, list levels, Py_ssize_t i, Py_ssize_t count, bint is_reserved, list found,
              list groups) except -1:
    """Recursion ends with the deepest filter: MAX_LEVELS. `#` also matches its parent level (section 4.7.1.2)."""
    cdef Node child
    cdef bint by_wildcard = not (i == 0 and is_reserved)        # [MQTT-4.7.2-1]
    if node.multi is not None and by_wildcard:
        collect(node.multi, found, groups)
    if i == count:
        return collect(node, found, groups)
    if node.children is not None:
        child = node.children.get(levels[i])
        if child is not None:
            walk(child, levels, i + 1, count, is_reserved, found, groups)
    if node.single is not None and by_wildcard:
        walk(node.single, levels, i + 1, count, is_reserved, found, groups)
    return 0


class FilterTable:
    """Subscriptions of sessions that are only names: for tests."""

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()
        self._sessions = {}
        self._of = {}

    def add(self, bytes name not None, bytes filter not None, int qos=0, int identifier=0) -> bool:
        """Whether the filter is valid. A name may have each filter once."""
        cdef Subscriptions subscriptions = self._subscriptions
        if split_shared(filter) is None:
            return False
        session = self._sessions.setdefault(name, Session(name, 0, -1, Traffic()))
        subscription = self._of[(name, filter)] = Subscription(session, filter, qos, identifier)
        subscriptions.add(subscription)
        return True

    def remove(self, bytes name not None, bytes filter not None) -> None:
        cdef Subscriptions subscriptions = self._subscriptions
        subscriptions.remove(self._of.pop((name, filter)))

    def match(self, bytes topic not None) -> dict:
        """name -> (QoS, identifiers) of those who get the topic, and `$share/{group}` -> names of its members."""
        cdef Subscriptions subscriptions = self._subscriptions
        cdef Matches matches = subscriptions.match(topic)
        cdef Match match
        cdef SharedGroup group
        cdef Subscription member
        found = {}
        if matches is not None:
            for match in matches.direct:
                found[match.session.key] = (match.qos, match.identifiers or ())
            for group in matches.groups:
                found[b"$share/" + group.name] = [member.session.key for member in group.members]
        return found

    def counts(self) -> tuple:
        """Subscriptions; of them those that may match telemetry; filters without wildcards; nodes below the root."""
        cdef Subscriptions subscriptions = self._subscriptions
        counts = (subscriptions.count, subscriptions.telemetry_watchers, len(subscriptions.exact))
        return *counts, nodes(subscriptions.root)


cdef size_t nodes(Node node) except *:
    cdef Node child
    cdef size_t count = 0
    for child in [node.single, node.multi, *(node.children.values() if node.children else ())]:
        if child is not None:
            count += 1 + nodes(child)
    return count
