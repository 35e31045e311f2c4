# cython: language_level=3
"""Retained messages: one for each topic, in a trie that filters are walked down; bounded by count and bytes."""

from ext.mqtt.message cimport NEVER, Message, monotonic_ms, new_message
from ext.mqtt.subscriptions cimport MAX_LEVELS


cdef class RetainedNode:
    pass


cdef class Retained:
    def __cinit__(self, size_t max_count, size_t max_bytes, size_t max_of_owner):
        self.root = RetainedNode()
        self.owners = {}
        self.max_of_owner = max_of_owner
        self.max_count = max_count
        self.max_bytes = max_bytes

    cdef int count_owner(self, object owner, int change) except -1:
        cdef int count
        if owner is not None:
            count = self.owners.get(owner, 0) + change
            if count:
                self.owners[owner] = count
            else:
                del self.owners[owner]
        return 0

    cdef bint put(self, Message message, object owner) except -1:
        """Keep it in place of the one before; no payload: keep none. False: refused, the one before is gone too.

        `owner`: one device may not fill the room of all; None: not bounded.
        """
        cdef RetainedNode node = self.root
        cdef RetainedNode child
        cdef size_t size = message.size_bytes()
        self.take_out(message.topic)
        if not message.payload:
            return True
        if message.topic.count(b"/") >= MAX_LEVELS or (
            owner is not None and self.owners.get(owner, 0) >= self.max_of_owner
        ):
            self.refused += 1
            return False
        if self.count >= self.max_count or self.bytes + size > self.max_bytes:
            self.forget_expired()
            if self.count >= self.max_count or self.bytes + size > self.max_bytes:
                self.refused += 1
                return False
        for level in message.topic.split(b"/"):
            if node.children is None:
                node.children = {}
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = RetainedNode()
            node = child
        node.message = message
        message.is_stored = True
        message.stored_by = owner
        self.count_owner(owner, 1)
        self.count += 1
        self.bytes += size
        return True

    cdef int take_out(self, bytes topic) except -1:
        cdef RetainedNode node = self.root
        cdef list path = []
        if topic.count(b"/") >= MAX_LEVELS:
            return 0
        for level in topic.split(b"/"):
            path.append((node, level))
            node = node.children.get(level) if node.children is not None else None
            if node is None:
                return 0
        if node.message is None:
            return 0
        self.count -= 1
        self.bytes -= node.message.size_bytes()
        node.message.is_stored = False
        self.count_owner(node.message.stored_by, -1)
        node.message = None
        while path and node.message is None and not node.children:
            node, level = path.pop()
            del node.children[level]
        return 0

    def forget_expired(self) -> None:
        cdef Message message
        cdef list found = []
        gather(self.root, False, found)
        for message in found:
            if message.is_expired():
                self.take_out(message.topic)

    def as_tuples(self) -> list:
        """(topic, payload, qos, properties, expiry_s or None) of all that have not expired."""
        cdef list found = []
        cdef Message message
        cdef long long now = monotonic_ms()
        gather(self.root, False, found)
        return [
            (message.topic, message.payload, message.qos, message.properties,
             None if message.expires_ms == NEVER else (message.expires_ms - now + 999) // 1000)
            for message in found if message.expires_ms > now
        ]

    cdef list match(self, bytes filter):
        """All whose topics match, expired ones too."""
        cdef list found = []
        search(self.root, filter.split(b"/"), 0, found)
        return found


cdef int search(RetainedNode node, list levels, Py_ssize_t i, list found) except -1:
    """Recursion ends with the filter's levels, or a topic's: MAX_LEVELS."""
    cdef RetainedNode child
    if i == len(levels):
        if node.message is not None:
            found.append(node.message)
        return 0
    level = levels[i]
    if level == b"#":
        return gather(node, i == 0, found)
    if node.children is None:
        return 0
    if level == b"+":
        for name, child in node.children.items():
            if i or not name.startswith(b"$"):          # [MQTT-4.7.2-1]
                search(child, levels, i + 1, found)
        return 0
    child = node.children.get(level)
    return search(child, levels, i + 1, found) if child is not None else 0


cdef int gather(RetainedNode node, bint is_root, list found) except -1:
    cdef RetainedNode child
    if node.message is not None:
        found.append(node.message)
    if node.children is not None:
        for name, child in node.children.items():
            if not is_root or not name.startswith(b"$"):
                gather(child, False, found)
    return 0


class RetainedTable:
    """Retained messages by topic and payload: for tests."""

    def __init__(self, max_count: int = 1000, max_bytes: int = 1_000_000) -> None:
        self._retained = Retained(max_count, max_bytes, max_count)

    def put(self, bytes topic not None, bytes payload not None, long long expires_ms=NEVER) -> bool:
        cdef Retained retained = self._retained
        return retained.put(new_message(topic, payload, b"", 0, True, expires_ms), None)

    def match(self, bytes filter not None) -> dict:
        cdef Retained retained = self._retained
        cdef Message message
        return {message.topic: message.payload for message in retained.match(filter)}

    def counts(self) -> tuple:
        cdef Retained retained = self._retained
        return retained.count, retained.bytes, len(retained.root.children or ())
