# cython: language_level=3
"""SenML CBOR (RFC 8428 section 6) to readings by name, in one pass over the bytes.

Packs and streams alike: the array, its maps and their strings may be of definite or indefinite length. Labels may be
the integers of the RFC or their names as text; what is neither known nor ends in `_` is skipped.
"""

from ext.telemetry.cbor cimport (
    CBOR_ARRAY,
    CBOR_BREAK,
    CBOR_BYTES,
    CBOR_FALSE,
    CBOR_INDEFINITE,
    CBOR_MAP,
    CBOR_NEGATIVE,
    CBOR_TEXT,
    CBOR_TRUE,
    CBOR_UNSIGNED,
    Head,
    read_head,
    read_number,
    read_string,
    refuse,
    skip_item,
    take_double,
    take_unsigned,
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

cdef enum:
    POSITIVE = 9
    NEGATIVE = 6
    LOOK_CLOSER = -2
    ANY_STRING = 1 + 4 + 64 + 128 + 512 + 2048      # bn, bu, n, u, vs, vd

cdef short[POSITIVE] FROM_0 = [
    LABEL_N, LABEL_U, LABEL_V, LABEL_VS, LABEL_VB, LABEL_S, LABEL_T, LABEL_UT, LABEL_VD,
]
cdef short[NEGATIVE] FROM_MINUS_1 = [LABEL_BVER, LABEL_BN, LABEL_BT, LABEL_BU, LABEL_BV, LABEL_BS]
cdef short[256] BY_BYTE         # labels of one byte


cdef void fill_labels() noexcept:
    cdef int i
    for i in range(256):
        BY_BYTE[i] = LOOK_CLOSER
    for i in range(<int>POSITIVE):
        BY_BYTE[i] = FROM_0[i]
    for i in range(<int>NEGATIVE):
        BY_BYTE[0x20 + i] = FROM_MINUS_1[i]


fill_labels()


cdef bint read_label(Cbor* cbor, Readings readings, int* out) noexcept:
    """A label that is not one of the usual bytes."""
    cdef Head head
    cdef Text text
    if not read_head(cbor, &head):
        return False
    out[0] = LABEL_OTHER
    if head.major == CBOR_UNSIGNED:
        if head.value < POSITIVE:
            out[0] = FROM_0[head.value]
        return True
    if head.major == CBOR_NEGATIVE:
        if head.value < NEGATIVE:
            out[0] = FROM_MINUS_1[head.value]
        return True
    if head.major != CBOR_TEXT:
        return refuse(cbor, b"label is neither an integer nor text")
    if not read_string(cbor, readings, &head, True, &text):
        return False
    out[0] = label_of(text_at(readings, &text), text.size)
    return True


cdef bint read_text(Cbor* cbor, Readings readings, int label, Pack* pack, Record* record) noexcept:
    """The value of a label that takes a string."""
    cdef Head head
    cdef Text* to = &record.text
    cdef const char* wrong
    if not read_head(cbor, &head):
        return False
    if head.major != (CBOR_BYTES if label == LABEL_VD else CBOR_TEXT):
        return refuse(cbor, b"string of another type expected")
    if label == LABEL_BN:
        # names are checked where they are used, their characters are all ASCII
        if not read_string(cbor, readings, &head, False, &pack.bn):
            return False
        wrong = set_base_name(readings, pack)
        return True if wrong == NULL else refuse(cbor, wrong)
    if label == LABEL_U:
        to = &record.u
    elif label == LABEL_BU:
        to = &pack.bu
    return read_string(cbor, readings, &head, True, to)


cdef bint read_boolean(Cbor* cbor, Readings readings, Record* record) noexcept:
    if cbor.at == cbor.end or not CBOR_FALSE <= cbor.at[0] <= CBOR_TRUE:
        return refuse(cbor, b"boolean expected")
    if cbor.at[0] == CBOR_TRUE:
        if readings.put_own(b"true", 4, &record.text):
            return refuse(cbor, b"out of memory")
    elif readings.put_own(b"false", 5, &record.text):
        return refuse(cbor, b"out of memory")
    cbor.at += 1
    return True


cdef bint read_base_number(Cbor* cbor, Readings readings, int label, Pack* pack) noexcept:
    """The value of the less common labels that take a number."""
    cdef double number
    cdef const char* wrong
    if label == LABEL_BVER and cbor.at < cbor.end and cbor.at[0] >> 5 != CBOR_UNSIGNED:
        return refuse(cbor, b"version not supported")       # RFC 8428 section 6: only an unsigned integer
    if not take_double(cbor, &number) and not read_number(cbor, readings, &number):
        return False
    if label == LABEL_BT:
        pack.bt = number
    elif label == LABEL_BV:
        pack.bv = number
        pack.has_bv = True
    elif label == LABEL_BVER:
        wrong = set_version(pack, number)
        if wrong != NULL:
            return refuse(cbor, wrong)
    return True


cdef inline bint read_member(Cbor* cbor, Readings readings, Pack* pack, Record* record) noexcept:
    """A label and its value; there is at least one byte."""
    cdef const unsigned char* at = cbor.at
    cdef int label = BY_BYTE[at[0]]
    cdef Head head
    cdef double* to
    if label == LOOK_CLOSER:
        if not read_label(cbor, readings, &label):
            return False
        if label == LABEL_MUST:
            cbor.at = at
            return refuse(cbor, b"unknown label that ends in _")
        if label == LABEL_OTHER:
            return skip_item(cbor, 0)
    else:
        cbor.at = at + 1
    if record.seen & label:
        cbor.at = at
        return refuse(cbor, b"label given twice in one record")
    record.seen |= label
    if label == LABEL_V or label == LABEL_T:
        to = &record.v if label == LABEL_V else &record.t
        return take_double(cbor, to) or take_unsigned(cbor, to) or read_number(cbor, readings, to)
    if label == LABEL_N:
        if not read_head(cbor, &head):
            return False
        if head.major != CBOR_TEXT:
            return refuse(cbor, b"string of another type expected")
        return read_string(cbor, readings, &head, False, &record.n)
    if label & ANY_STRING:
        return read_text(cbor, readings, label, pack, record)
    if label == LABEL_VB:
        return read_boolean(cbor, readings, record)
    return read_base_number(cbor, readings, label, pack)


cdef bint read_record(Cbor* cbor, Readings readings, Pack* pack, Record* record) noexcept:
    cdef Head head
    cdef unsigned long long left
    if not read_head(cbor, &head):
        return False
    if head.major != CBOR_MAP:
        return refuse(cbor, b"record is no map")
    start_record(record)
    left = head.value
    while head.info == CBOR_INDEFINITE or left:
        if cbor.at >= cbor.end:
            return refuse(cbor, b"ends early")
        if head.info == CBOR_INDEFINITE and cbor.at[0] == CBOR_BREAK:
            cbor.at += 1
            return True
        if not read_member(cbor, readings, pack, record):
            return False
        left -= 1
    return True


cdef bint decode_senml_cbor(Cbor* cbor, Readings readings, long long received_ms) noexcept:
    cdef Pack pack
    cdef Record record
    cdef Head head
    cdef const char* wrong
    cdef unsigned long long left
    start_pack(&pack)
    if cbor.end - cbor.at >= 3 and cbor.at[0] == 0xD9 and cbor.at[1] == 0xD9 and cbor.at[2] == 0xF7:
        cbor.at += 3        # "this is CBOR", RFC 8949 section 3.4.6
    if not read_head(cbor, &head):
        return False
    if head.major != CBOR_ARRAY:
        return refuse(cbor, b"not an array")
    left = head.value
    while head.info == CBOR_INDEFINITE or left:
        if head.info == CBOR_INDEFINITE and cbor.at < cbor.end and cbor.at[0] == CBOR_BREAK:
            cbor.at += 1
            break
        if not read_record(cbor, readings, &pack, &record):
            return False
        wrong = add_record(readings, &pack, &record, received_ms)
        if wrong != NULL:
            return refuse(cbor, wrong)
        left -= 1
    if cbor.at != cbor.end:
        return refuse(cbor, b"bytes after the end")
    wrong = end_pack(readings)
    return True if wrong == NULL else refuse(cbor, wrong)
