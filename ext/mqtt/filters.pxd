# Topic filters that a device may subscribe to below cf/v1/d/{id}/: few enough for a bit each.

from libc.string cimport memcmp

cdef enum:
    FILTER_FORMS = 9
    DOWNLINK_KINDS = 3          # commands, config, firmware


cdef inline int downlink_kind(const unsigned char* at, size_t size) noexcept nogil:
    """0 to 2 for what follows cf/v1/d/{id}/ in a downlink topic, or -1."""
    if size == 8 and memcmp(at, b"commands", 8) == 0:
        return 0
    if size == 6 and memcmp(at, b"config", 6) == 0:
        return 1
    if size == 8 and memcmp(at, b"firmware", 8) == 0:
        return 2
    return -1


cdef inline int filter_form(const unsigned char* at, size_t size) noexcept nogil:
    """The bit of a filter, by what follows cf/v1/d/{id}/ in it; -1: nothing that is ever sent there would match.

    0 `#`, 1 `+`, 2 `+/#`, then for each downlink kind itself and `{kind}/#` (which matches its parent level too).
    """
    cdef int kind
    if size == 1 and (at[0] == b"#" or at[0] == b"+"):
        return 0 if at[0] == b"#" else 1
    if size == 3 and memcmp(at, b"+/#", 3) == 0:
        return 2
    kind = downlink_kind(at, size)
    if kind >= 0:
        return 3 + 2 * kind
    if size > 2 and at[size - 2] == b"/" and at[size - 1] == b"#":
        kind = downlink_kind(at, size - 2)
        if kind >= 0:
            return 4 + 2 * kind
    return -1


cdef inline unsigned short forms_of_kind(int kind) noexcept nogil:
    """The bits of all filters that match a downlink topic."""
    return <unsigned short>(7 | (3 << (3 + 2 * kind)))
