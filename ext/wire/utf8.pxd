# UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.

from libc.string cimport memchr, memcpy


cdef inline bint is_utf8(const unsigned char* at, size_t size) noexcept nogil:
    """Eight ASCII bytes at a time; U+0000 is a character like any other."""
    cdef const unsigned char* end = at + size
    cdef unsigned long long word
    cdef unsigned char byte
    while at < end:
        if end - at >= 8:
            memcpy(&word, at, 8)
            if not word & 0x8080808080808080ULL:
                at += 8
                continue
        byte = at[0]
        if byte < 0x80:
            at += 1
        elif byte < 0xC2:                       # a continuation byte, or an overlong form
            return False
        elif byte < 0xE0:
            if end - at < 2 or (at[1] & 0xC0) != 0x80:
                return False
            at += 2
        elif byte < 0xF0:
            if end - at < 3 or (at[1] & 0xC0) != 0x80 or (at[2] & 0xC0) != 0x80:
                return False
            if byte == 0xE0 and at[1] < 0xA0:   # overlong
                return False
            if byte == 0xED and at[1] >= 0xA0:  # surrogate
                return False
            at += 3
        elif byte < 0xF5:
            if end - at < 4 or (at[1] & 0xC0) != 0x80 or (at[2] & 0xC0) != 0x80 or (at[3] & 0xC0) != 0x80:
                return False
            if byte == 0xF0 and at[1] < 0x90:   # overlong
                return False
            if byte == 0xF4 and at[1] >= 0x90:  # above U+10FFFF
                return False
            at += 4
        else:
            return False
    return True


cdef inline bint is_mqtt_string(const unsigned char* at, size_t size) noexcept nogil:
    """MQTT 5.0 section 1.5.4: UTF-8 without U+0000."""
    return is_utf8(at, size) and (size == 0 or memchr(at, 0, size) == NULL)
