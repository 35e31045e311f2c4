# Sparkplug B 3.0 as a host application: payloads to readings by name.

from ext.telemetry.frames cimport Frame, FrameChunk
from ext.telemetry.index cimport DeviceIndex
from ext.telemetry.protobuf cimport Wire
from ext.telemetry.readings cimport Readings, Text
from ext.telemetry.sparkplug_births cimport Birth, Births
from ext.telemetry.sparkplug_metric cimport Metric
from ext.telemetry.sparkplug_table cimport Announced

cdef enum SparkplugResult:
    SPARKPLUG_NOTHING = 0       # no readings in it: a death, a command, a birth of nothing
    SPARKPLUG_READINGS = 1      # in a span of their own
    SPARKPLUG_REFUSED = 2       # as a whole: `reason`, `detail` and `offset` say why

cdef enum Verb:
    VERB_OTHER = 0
    VERB_NBIRTH = 1
    VERB_DBIRTH = 2
    VERB_NDATA = 3
    VERB_DDATA = 4
    VERB_NDEATH = 5
    VERB_DDEATH = 6

cdef struct Path:                   # of a topic: spBv1.0/{group}/{verb}/{edge}[/{device}]
    const unsigned char* group
    const unsigned char* edge
    const unsigned char* device     # NULL: the edge node itself
    size_t group_size, edge_size, device_size
    Verb verb

# What holds for all metrics of one payload.
cdef struct Scene:
    Birth* birth                    # NULL: nothing was announced, or it does not hold any more
    unsigned int next_metric        # of the birth: names come in the order of the birth
    unsigned int device             # into Readings.devices
    unsigned int unnamed            # metric entry that unknown aliases share; NO_NAME: none yet
    size_t key_at                   # the sender's key in the arena
    size_t key_size
    bint is_birth
    bint lacks_time                 # of some reading
    bint has_bd_seq
    unsigned long long bd_seq
    unsigned char wants

cdef class SparkplugDecoder:
    cdef readonly Births births
    cdef Announced* staged      # the metrics of the birth that is being decoded
    cdef size_t staged_count, staged_capacity
    cdef unsigned int round     # of chunks: what was put into the arena of the Readings is there for one
    cdef size_t true_at, false_at
    cdef unsigned int true_round, false_round
    cdef unsigned char reason
    cdef const char* detail
    cdef size_t offset
    cdef unsigned long long[8] messages     # by Verb
    cdef unsigned long long other_messages, nulls, controls, historical, unknown_aliases
    cdef readonly unsigned long long transient      # readings that their sender does not want stored
    # Call once before the first frame of a chunk.
    cdef void begin(self) noexcept
    cdef SparkplugResult decode(self, FrameChunk chunk, size_t at, DeviceIndex index, Readings readings) except *
    cdef SparkplugResult refuse(self, unsigned char reason, const char* detail, size_t offset) noexcept
    cdef bint is_malformed(self, const char* detail, size_t offset) noexcept
    cdef int put_key(self, Path* path, Readings readings, Text* key) except -1
    cdef int name_device(self, Path* path, Frame* frame, Text* key, DeviceIndex index, Readings readings) except -1
    cdef int take_note(self, Path* path, Scene* scene, unsigned int owner, const unsigned char* key, size_t key_size,
                       long long seq, long long now_ms) except -1
    cdef bint read_payload(self, FrameChunk chunk, Frame* frame, Path* path, Scene* scene, Readings readings,
                           long long* seq, long long* time_ms) except *
    cdef void take_bd_seq(self, Metric* metric, Scene* scene) noexcept
    cdef int take_born(self, Metric* metric, Wire* unit, FrameChunk chunk, Scene* scene, Readings readings) except -1
    cdef int take_data(self, Metric* metric, FrameChunk chunk, Scene* scene, Readings readings) except -1
    cdef bint passes(self, Metric* metric) noexcept
    cdef int put_reading(self, Metric* metric, unsigned int datatype, Text* name, Text* unit, FrameChunk chunk,
                         Scene* scene, Readings readings) except -1
    cdef int put_boolean(self, bint value, Readings readings, Text* out) except -1
    cdef int refuse_unnamed(self, Metric* metric, FrameChunk chunk, Scene* scene, Readings readings) except -1
