# What Sparkplug edge nodes and their devices have announced, and what is known of their messages.

from ext.telemetry.sparkplug_sequence cimport Sequence
from ext.telemetry.sparkplug_table cimport Announced, MetricTable

cdef enum BirthFlag:
    BIRTH_BORN = 1              # its aliases and datatypes hold
    BIRTH_RESTORED = 2          # from disk, or a later one may have been lost: to be confirmed by a new birth
    BIRTH_NODE = 4              # an edge node, else a device of one
    BIRTH_PENDING = 8           # a node in Births.pending
    BIRTH_AWAITED = 16          # a rebirth was requested and has not come
    BIRTH_USED = 32             # the slot is taken

cdef enum Want:                 # why a node is asked to publish its births again
    WANT_UNBORN = 1             # data without a birth
    WANT_ALIAS = 2              # an alias that no birth gave
    WANT_GAP = 4                # messages are missing, and did not come in time
    WANT_CONFIRMATION = 8       # births restored from disk, or doubted
    WANT_AGAIN = 16             # it was asked and goes on without

cdef struct Birth:
    unsigned char* key          # {group}/{edge} or {group}/{edge}/{device}
    MetricTable table           # empty while it is not born
    unsigned int owner          # device_num of the gateway that sent it; 0: came through a broker
    unsigned int hash
    int next                    # of the same bucket
    int node                    # slot of the edge node; its own if it is one
    int next_device             # a node: its first device; a device: the node's next
    size_t held_bytes           # by this birth
    long long seen_ms
    unsigned short key_size, group_size, edge_end
    unsigned char flags         # BirthFlag
    # what follows is of edge nodes
    unsigned char has_bd_seq
    unsigned char wants         # Want
    unsigned char tries         # rebirth requests since the last birth
    unsigned long long bd_seq
    long long not_before_ms     # the next rebirth request
    Sequence sequence

cdef class Births:
    cdef Birth* births
    cdef int count, capacity        # slots ever used, slots there are
    cdef int free_slot              # head of the list of freed ones, by `next`
    cdef int* buckets
    cdef unsigned int bucket_mask
    cdef int* pending               # slots of nodes that miss messages or want a rebirth
    cdef int pending_count, pending_capacity
    cdef readonly size_t held_bytes
    cdef size_t max_bytes
    cdef long long clock_ms, full_until_ms
    cdef int max_of_sender
    cdef dict of_sender             # owner -> how many births, bytes; without 0
    cdef int hand                   # where the search for something to throw away goes on
    cdef readonly list journal      # records to append to the file, in order
    cdef size_t journal_bytes
    cdef public bint needs_snapshot  # the journal has gaps
    cdef readonly list events       # (what, owner, key, ms): births and deaths, for the log
    cdef readonly int nodes, devices, born_nodes, born_devices
    cdef readonly unsigned long long births_kept, births_refused, evicted, deaths, deaths_ignored
    cdef readonly unsigned long long gaps, missing, late, repeated, rebirths_requested, rebirths_suppressed
    cdef readonly unsigned long long events_dropped, damaged

    # Slot of an edge node or device, or -1.
    cdef int find(self, unsigned int owner, const unsigned char* key, size_t size) noexcept
    # The same, made if it is not there; -1 if there is no room. May move `births`. A device's node is made with it.
    cdef int enter(self, unsigned int owner, const unsigned char* key, size_t size, size_t group_size, size_t edge_end,
                   long long now_ms) except -2
    # A birth took place. Aliases that the node's devices had are gone if it is a node's.
    cdef int bear(self, int slot, Announced* metrics, size_t count, bint has_bd_seq, unsigned long long bd_seq,
                  long long now_ms) except -1
    # A death: the node's and its devices', or one device's. Returns whether it was one.
    cdef bint bury(self, int slot, bint has_bd_seq, unsigned long long bd_seq, long long now_ms) except -1
    # A message of the node other than NBIRTH and NDEATH has come.
    cdef int step(self, int node, unsigned long long number, long long now_ms) except -1
    cdef int want(self, int node, unsigned char why) except -1
    cdef int pend(self, int node) except -1
    cdef int lay_out(self, int slot, Announced* metrics, size_t count) except -2
    cdef int undo(self, int slot) except -1
    cdef int forget(self, int slot) except -1
    cdef bint make_room(self, unsigned int owner, size_t more) except -1
    cdef int hold(self, Birth* birth, int births, long long more) except -1
    cdef int record(self, int slot, int kind) except -1
    cdef bytes record_of(self, int slot, int kind)
    cdef bint replay(self, const unsigned char* at, size_t size) except -1
    cdef int tell(self, str what, int slot, long long now_ms) except -1
