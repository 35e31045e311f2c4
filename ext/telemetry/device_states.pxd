# What devices were last heard to do, by slot of the device index: marked by transports and resolve, for the registry.

from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.region cimport Region

cdef enum StateFlag:
    STATE_LISTED = 1                # in a list of those with news
    STATE_HAS_READING = 2           # news: a reading
    STATE_HAS_CONNECTION = 4        # news: connected, or not any more
    STATE_HAS_DOCUMENT = 8          # news: a document, in DeviceStates.documents
    STATE_IS_FIRST = 16             # news: its first reading, which is not left for later

# Why a connection ended, where MQTT has no reason code; 0 and those from 4 on are MQTT's.
cdef enum End:
    END_LOST = 1
    END_STREAM = 2

cdef enum:
    MAX_DOCUMENT_BYTES = 16_384

cdef struct State:
    long long seen_ms               # last message of any kind, UTC; 0: none in this run
    long long reading_ms            # when the last accepted reading came
    long long connection_ms         # when it was connected or its last connection ended
    long long opened_ms             # when it was last connected
    unsigned int told_s             # when it was last told, on DeviceStates' clock; 0: not in this run
    unsigned short connections
    unsigned char flags             # StateFlag
    unsigned char reason            # why its last connection ended: End, or a reason code of MQTT

cdef class DeviceStates:
    cdef DeviceIndex index
    cdef State* at                  # by slot; moves when it grows
    cdef size_t capacity
    cdef unsigned int* listed       # slots with news, each once, here or in `round`
    cdef unsigned int* round        # those being told
    cdef size_t listed_count, round_count, round_at
    cdef Region state_region, listed_region, round_region
    cdef dict documents             # device number -> (payload, when it came): the registry lacks it, the newest alone
    cdef dict fresh                 # those of them that nobody has asked for with take_fresh()
    cdef list under_way             # (device number, entry of `documents`) of the requests that were not answered
    cdef list found                 # device numbers of those that are told without a mark, as what an earlier run left
    cdef bint is_alone              # each of `found` in a request of its own: one may be what was refused
    cdef bint was_alone             # the last request was such a one
    cdef size_t document_bytes, max_document_bytes
    cdef list reasons               # by reason, as the registry gets it
    cdef bytes head                 # node and run: the first fields of a request
    cdef unsigned int progress_s
    cdef double began_s
    cdef unsigned char* body
    cdef size_t body_capacity
    cdef unsigned long long documents_taken, documents_refused, told

    cdef bint grow(self, size_t slot) noexcept
    cdef void note(self, size_t slot) noexcept
    cdef void turned(self, size_t slot, long long now_ms) noexcept
    # One more, or one less, connection of a device.
    cdef int opened(self, int slot) except -1
    cdef int closed(self, int slot, unsigned char reason) except -1
    # False: there is no room, or memory ran out; `at` holds a JSON object of at most MAX_DOCUMENT_BYTES.
    cdef bint take_document(self, int slot, const unsigned char* at, size_t size, long long at_ms) except -1
    cdef int hold(self, unsigned int device_num, tuple document) except -1
    cdef int make_room(self, size_t size) except -1
    cdef size_t put_report(self, size_t slot, unsigned char* out) except 0
    cdef size_t put_found(self, unsigned int device_num, tuple held, unsigned char* out) except 0


cdef inline void mark_seen(DeviceStates states, int slot, long long at_ms) noexcept:
    """A message of the device. `slot`: of the index, not negative."""
    cdef State* state
    if <size_t>slot >= states.capacity and not states.grow(<size_t>slot):
        return                      # without memory the registry hears less
    state = &states.at[slot]
    if at_ms > state.seen_ms:
        state.seen_ms = at_ms
        if not state.flags & STATE_LISTED:
            states.note(<size_t>slot)


cdef inline void mark_reading(DeviceStates states, int slot, long long at_ms) noexcept:
    """A reading of the device was accepted. `slot`: of the index, not negative."""
    cdef State* state
    if <size_t>slot >= states.capacity and not states.grow(<size_t>slot):
        return
    state = &states.at[slot]
    if at_ms > state.reading_ms:
        state.flags |= STATE_HAS_READING if state.reading_ms else STATE_HAS_READING | STATE_IS_FIRST
        state.reading_ms = at_ms
        if at_ms > state.seen_ms:
            state.seen_ms = at_ms
        if not state.flags & STATE_LISTED:
            states.note(<size_t>slot)
