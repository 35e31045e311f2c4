# cython: language_level=3
"""SenML JSON (RFC 8428 section 5) to readings by name, in one pass over the bytes."""

from ext.telemetry.json_scan cimport (
    Scanner,
    String,
    fail,
    past_space,
    scan_literal,
    scan_number,
    scan_string,
    skip_space,
    skip_value,
    take,
)
from ext.telemetry.readings cimport Text, text_at
from ext.telemetry.senml_record cimport (
    LABEL_BN,
    LABEL_BS,
    LABEL_BT,
    LABEL_BU,
    LABEL_BV,
    LABEL_BVER,
    LABEL_MUST,
    LABEL_N,
    LABEL_OTHER,
    LABEL_S,
    LABEL_T,
    LABEL_U,
    LABEL_UT,
    LABEL_V,
    LABEL_VB,
    LABEL_VD,
    LABEL_VS,
    Pack,
    Record,
    add_record,
    end_pack,
    label_of,
    set_base_name,
    set_version,
    start_pack,
    start_record,
)
from ext.wire.base64 cimport decode_base64url

cdef enum:
    ANY_STRING = 1 + 4 + 64 + 128 + 512 + 2048      # bn, bu, n, u, vs, vd
    TAKEN_APART = 1 + 2048                          # bn, vd

# Labels of one letter, and of two that begin with b or v, by their last letter; 0: none.
cdef short[128] OF_ONE
cdef short[128] AFTER_B
cdef short[128] AFTER_V


cdef void fill_labels() noexcept:
    cdef int i
    for i in range(128):
        OF_ONE[i] = AFTER_B[i] = AFTER_V[i] = 0
    OF_ONE[c"n"] = LABEL_N
    OF_ONE[c"u"] = LABEL_U
    OF_ONE[c"v"] = LABEL_V
    OF_ONE[c"t"] = LABEL_T
    OF_ONE[c"s"] = LABEL_S
    AFTER_B[c"n"] = LABEL_BN
    AFTER_B[c"t"] = LABEL_BT
    AFTER_B[c"u"] = LABEL_BU
    AFTER_B[c"v"] = LABEL_BV
    AFTER_B[c"s"] = LABEL_BS
    AFTER_V[c"s"] = LABEL_VS
    AFTER_V[c"b"] = LABEL_VB
    AFTER_V[c"d"] = LABEL_VD


fill_labels()


cdef int scan_label(Scanner* scan, Readings readings, bint* is_bad) noexcept:
    """A label that is not one of the usual ones, `at` at its opening quote; `is_bad`: it is no string."""
    cdef String string
    is_bad[0] = True
    if not take(scan, c'"'):
        scan.detail = b"label missing"
        return LABEL_OTHER
    if not scan_string(scan, readings, &string):
        return LABEL_OTHER
    is_bad[0] = False
    return label_of(text_at(readings, &string.text), string.text.size)


cdef inline int usual_label(const unsigned char* at, const unsigned char* end) noexcept:
    """A label of one or two letters with its quotes; 0: something else."""
    if end - at < 4 or at[0] != c'"':
        return 0
    if at[2] == c'"':
        return OF_ONE[at[1] & 127] if at[1] < 128 else 0
    if at[3] == c'"' and at[2] < 128:
        return AFTER_B[at[2]] if at[1] == c"b" else AFTER_V[at[2]] if at[1] == c"v" else 0
    return 0


cdef bint take_text(Scanner* scan, Readings readings, int label, Pack* pack, Record* record) noexcept:
    """What is to be done with some strings once they were read."""
    cdef const char* wrong
    cdef Text* text = &record.text
    cdef Py_ssize_t size
    if label == LABEL_BN:
        wrong = set_base_name(readings, pack)
        return True if wrong == NULL else fail(scan, wrong)
    if label == LABEL_VD:
        if readings.reserve_arena(text.size):
            return fail(scan, b"out of memory")
        size = decode_base64url(text_at(readings, text), text.size, readings.arena + readings.arena_size)
        if size < 0:
            return fail(scan, b"vd is not base64url without padding")
        record.text.at = readings.arena_size
        record.text.size = <unsigned int>size
        record.text.is_own = 1
        readings.arena_size += size
    return True


cdef bint take_number(Scanner* scan, const unsigned char* at, int label, double number, Pack* pack) noexcept:
    """The less common numbers; `at`: where this one began."""
    cdef const char* wrong
    if label == LABEL_BT:
        pack.bt = number
    elif label == LABEL_BV:
        pack.bv = number
        pack.has_bv = True
    elif label == LABEL_BVER:
        wrong = set_version(pack, number)
        if wrong != NULL:
            scan.at = at
            return fail(scan, wrong)
    return True


cdef bint scan_boolean(Scanner* scan, Record* record) noexcept:
    record.text.at = scan.at - scan.chunk
    record.text.is_own = 0
    if scan.at < scan.end and scan.at[0] == c"t":
        record.text.size = 4
        return scan_literal(scan, b"true", 4)
    if scan.at < scan.end and scan.at[0] == c"f":
        record.text.size = 5
        return scan_literal(scan, b"false", 5)
    return fail(scan, b"boolean expected")


cdef inline bint scan_member(Scanner* scan, Readings readings, Pack* pack, Record* record) noexcept:
    """One label and its value; `at` is at the label's opening quote.

    The place is kept in a register: through `scan.at` each step would wait for the store of the one before.
    """
    cdef Text* text
    cdef double number
    cdef bint is_bad = False
    cdef const unsigned char* first = scan.at
    cdef const unsigned char* at = first
    cdef const unsigned char* end = scan.end
    cdef int label = usual_label(at, end)
    if label:
        at += 3 if at[2] == c'"' else 4
    else:
        label = scan_label(scan, readings, &is_bad)
        if is_bad:
            return False
        at = scan.at
        if label == LABEL_MUST:
            scan.at = first
            return fail(scan, b"unknown label that ends in _")
    if record.seen & label:
        scan.at = first
        return fail(scan, b"label given twice in one record")
    at = past_space(at, end)
    if at == end or at[0] != c":":
        scan.at = at
        return fail(scan, b"colon missing")
    at = past_space(at + 1, end)
    record.seen |= label
    scan.at = at
    if label & ANY_STRING:
        if at == end or at[0] != c'"':
            return fail(scan, b"string expected")
        # straight to where it belongs: a struct that was just written in parts is slow to copy as one
        text = (&record.n if label == LABEL_N else &record.u if label == LABEL_U else &pack.bn if label == LABEL_BN
                else &pack.bu if label == LABEL_BU else &record.text)
        scan.at = at + 1
        if not scan_string(scan, readings, <String*>text):
            return False
        return True if not label & TAKEN_APART else take_text(scan, readings, label, pack, record)
    if label == LABEL_OTHER:
        return skip_value(scan, readings, 0)
    if label == LABEL_VB:
        return scan_boolean(scan, record)
    if not scan_number(scan, &number):
        return False
    if label == LABEL_V:
        record.v = number
    elif label == LABEL_T:
        record.t = number
    elif label != LABEL_S and label != LABEL_BS and label != LABEL_UT:
        return take_number(scan, at, label, number, pack)
    return True


cdef bint scan_record(Scanner* scan, Readings readings, Pack* pack, Record* record) noexcept:
    """An object and what may stand around it; `at` is behind what came before."""
    cdef const unsigned char* at = past_space(scan.at, scan.end)
    cdef const unsigned char* end = scan.end
    scan.at = at
    if at == end or at[0] != c"{":
        return fail(scan, b"record missing")
    start_record(record)
    at = past_space(at + 1, end)
    scan.at = at
    if at < end and at[0] == c"}":
        scan.at = at + 1
        return True
    while True:
        if not scan_member(scan, readings, pack, record):
            return False
        at = past_space(scan.at, end)
        if at == end or (at[0] != c"," and at[0] != c"}"):
            scan.at = at
            return fail(scan, b"comma missing")
        if at[0] == c"}":
            scan.at = at + 1
            return True
        scan.at = past_space(at + 1, end)


cdef bint decode_senml(Scanner* scan, Readings readings, long long received_ms) noexcept:
    cdef Pack pack
    cdef Record record
    cdef const char* wrong
    start_pack(&pack)
    skip_space(scan)
    if not take(scan, c"["):
        return fail(scan, b"not an array")
    while True:
        if not scan_record(scan, readings, &pack, &record):
            return False
        wrong = add_record(readings, &pack, &record, received_ms)
        if wrong != NULL:
            return fail(scan, wrong)
        skip_space(scan)
        if take(scan, c"]"):
            break
        if not take(scan, c","):
            return fail(scan, b"comma missing")
    skip_space(scan)
    if scan.at != scan.end:
        return fail(scan, b"text after the end")
    wrong = end_pack(readings)
    return True if wrong == NULL else fail(scan, wrong)
