# Who wants which topics: filters without wildcards in a table, the others in a trie, shared groups beside both.

from ext.mqtt.session cimport Session

cdef enum:
    MAX_LEVELS = 64             # of a filter with wildcards, and of a retained topic: bounds recursion

cdef class Node:
    """One level of a filter. `first` and `groups` are of filters that end here."""
    cdef dict children          # level -> Node
    cdef Node single            # +
    cdef Node multi             # #
    cdef Node parent
    cdef bytes level
    cdef Subscription first
    cdef dict groups            # name of a shared group -> SharedGroup

cdef class Subscription:
    cdef readonly Session session           # None: another process, see Router.set_remote_filters
    cdef readonly bytes filter              # as it was asked for, `$share/...` included
    cdef readonly unsigned int identifier   # 0: none
    cdef readonly unsigned char qos
    cdef readonly bint is_no_local, keeps_retain
    cdef int child                          # device slot: holds while this device is behind the session's; -1: always
    cdef bint sees_telemetry
    cdef Node node
    cdef SharedGroup group                  # None: not shared
    cdef Subscription after, before         # of the same node

cdef class SharedGroup:
    cdef readonly bytes name
    cdef readonly list members              # Subscriptions, taken in turn
    cdef size_t turn
    cdef Subscription choose(self)
    cdef Subscription choose_here(self)
    cdef bytes filter(self)

cdef class Match:
    """All that one session has subscribed to and that matches a topic."""
    cdef Session session
    cdef Subscription only                  # the subscription, if there is one
    cdef list several                       # or all of them
    cdef tuple identifiers
    cdef unsigned char qos
    cdef bint keeps_retain, has_no_local

cdef class Matches:
    cdef list direct                        # Matches of sessions
    cdef list groups                        # SharedGroups
    cdef bint is_remote                     # another process has a subscriber

cdef class Subscriptions:
    cdef Node root
    cdef dict exact                         # filter without wildcards -> Node
    cdef dict cache                         # topic -> Matches or None, for the filters as they are
    cdef readonly size_t count
    cdef readonly size_t telemetry_watchers     # of them, those that may match a telemetry topic
    cdef readonly size_t shared
    cdef Node node_of(self, bytes inner)
    cdef int prune(self, Node node) except -1
    cdef int add(self, Subscription subscription) except -1
    cdef int remove(self, Subscription subscription) except -1
    cdef Matches match(self, bytes topic)

cdef Match combine(list subscriptions)
# The filter behind `$share/{group}/`, and the group; (filter, None) for others; None: not a valid filter.
cdef tuple split_shared(bytes filter)
