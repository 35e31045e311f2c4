# The sequence numbers of one Sparkplug edge node: 0 to 255 and again, over all its messages but NDEATH.

from libc.string cimport memset

cdef enum SequenceStep:
    SEQUENCE_IN_ORDER = 0
    SEQUENCE_GAP = 1            # numbers before this one are missing now
    SEQUENCE_LATE = 2           # one that was missing; others still are
    SEQUENCE_CLOSED = 3         # the last that was missing
    SEQUENCE_REPEATED = 4       # one of the last few again
    SEQUENCE_LOST = 5           # in order, but its number was missing a whole round ago: that message never came

cdef enum:
    SEQUENCE_NEAR = 16          # so far back a number is a repetition, not a gap of nearly a whole round

cdef struct Sequence:
    unsigned long long missing[4]   # bit by number
    long long since_ms              # since when any is missing, our clock
    unsigned short missing_count
    unsigned char expected          # the next number
    unsigned char is_known          # `expected` says something


cdef inline void begin_sequence(Sequence* sequence, unsigned int number) noexcept nogil:
    """From a birth on; whatever was missing before is of no interest any more."""
    memset(sequence, 0, sizeof(Sequence))
    sequence.expected = <unsigned char>(number + 1)
    sequence.is_known = 1


cdef inline bint take_missing(Sequence* sequence, unsigned char number) noexcept nogil:
    """Whether this number was missing; it is so no more."""
    cdef unsigned long long bit = 1ULL << (number & 63)
    if not sequence.missing[number >> 6] & bit:
        return False
    sequence.missing[number >> 6] &= ~bit
    sequence.missing_count -= 1
    return True


cdef inline SequenceStep step_sequence(Sequence* sequence, unsigned char number, long long now_ms) noexcept nogil:
    """Where a message's number stands. The caller stores the message whatever this says."""
    cdef unsigned char ahead = <unsigned char>(number - sequence.expected)
    if not sequence.is_known:
        begin_sequence(sequence, number)
        return SEQUENCE_IN_ORDER
    if ahead == 0:
        sequence.expected = <unsigned char>(number + 1)
        if sequence.missing_count and take_missing(sequence, number):
            return SEQUENCE_LOST
        return SEQUENCE_IN_ORDER
    if take_missing(sequence, number):
        return SEQUENCE_CLOSED if sequence.missing_count == 0 else SEQUENCE_LATE
    if ahead >= 256 - SEQUENCE_NEAR:
        return SEQUENCE_REPEATED
    if sequence.missing_count == 0:
        sequence.since_ms = now_ms
    while sequence.expected != number:
        if not sequence.missing[sequence.expected >> 6] >> (sequence.expected & 63) & 1:
            sequence.missing[sequence.expected >> 6] |= 1ULL << (sequence.expected & 63)
            sequence.missing_count += 1
        sequence.expected += 1
    sequence.expected += 1
    return SEQUENCE_GAP
