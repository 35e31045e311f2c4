# cython: language_level=3
"""Ids for rows of cityfleet.quarantine: a column `id` behind the others of its Native blocks.

An id is a UUID of version 7: the time the payload came in (48 bits, milliseconds), so that a row is found by its id in
the table's order; 42 bits of the SHA-256 of where the row comes from; the row's number there (32 bits).
"""

from hashlib import sha256

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy

from ext.clickhouse.native cimport column_head_size, varint_size, write_bytes, write_column_head, write_varint

cdef enum:
    FIRST_HEAD_SIZE = 33            # of FIRST_HEAD
    MAX_ROWS = 1 << 28

# What QuarantineBlock.seal() begins its columns with, in every version so far.
cdef const char* FIRST_HEAD = b"\x0breceived_at\x14DateTime64(3, 'UTC')"
ID, TYPE = b"id", b"UUID"

cdef struct Head:
    size_t rows
    unsigned long long columns
    const unsigned char* first      # the head of the first column
    const unsigned char* received   # its values, milliseconds since 1970, 8 bytes each


cdef const unsigned char* read_varint(const unsigned char* at, const unsigned char* end,
                                      unsigned long long* out) noexcept nogil:
    """Returns the byte behind it, or NULL if it is not whole or needs more than five bytes."""
    cdef int shift = 0
    out[0] = 0
    while at < end and shift < 35:
        out[0] |= <unsigned long long>(at[0] & 0x7F) << shift
        if at[0] < 0x80:
            return at + 1
        at += 1
        shift += 7
    return NULL


cdef bint read_head(const unsigned char* at, size_t size, Head* out) noexcept nogil:
    cdef const unsigned char* end = at + size
    cdef unsigned long long rows
    at = read_varint(at, end, &out.columns)
    if at == NULL:
        return False
    at = read_varint(at, end, &rows)
    if at == NULL or rows == 0 or rows > MAX_ROWS or <size_t>(end - at) < FIRST_HEAD_SIZE + rows * 8:
        return False
    if out.columns == 0 or memcmp(at, FIRST_HEAD, FIRST_HEAD_SIZE) != 0:
        return False
    out.rows = <size_t>rows
    out.first = at
    out.received = at + FIRST_HEAD_SIZE
    return True


cdef unsigned char* write_ids(unsigned char* to, Head* head, unsigned long long source,
                              unsigned int number) noexcept nogil:
    """ClickHouse keeps a UUID as its upper and its lower half, each little-endian."""
    cdef unsigned long long received_ms, half
    cdef size_t i
    for i in range(head.rows):
        memcpy(&received_ms, head.received + i * 8, 8)
        half = received_ms << 16 | 0x7000 | (source >> 30 & 0xFFF)
        memcpy(to, &half, 8)
        half = <unsigned long long>1 << 63 | (source & 0x3FFFFFFF) << 32 | (number + <unsigned int>i)
        memcpy(to + 8, &half, 8)
        to += 16
    return to


def with_ids(object blocks not None, str source not None) -> bytes:
    """The blocks one after the other, each with a column `id` of which every row has its own, always the same.

    Args:
        blocks: Native blocks of cityfleet.quarantine as QuarantineBlock seals them.
        source: where the rows come from, a name that nothing else has: the segment's. Their numbers count from 0 over
            all blocks.
    Raises: ValueError if a block does not begin with `received_at`, or there are more than 2**32 rows.
    """
    cdef unsigned long long hashed = int.from_bytes(sha256(source.encode()).digest()[:8], "big")
    cdef size_t total = 0, rows = 0, rest
    cdef Head head
    cdef Py_buffer view
    cdef bytes body
    cdef unsigned char* to
    cdef unsigned long long number = 0
    for block in blocks:
        PyObject_GetBuffer(block, &view, PyBUF_SIMPLE)
        try:
            if not read_head(<const unsigned char*>view.buf, <size_t>view.len, &head):
                raise ValueError("not a block of quarantine rows")
            rest = <size_t>view.len - <size_t>(head.first - <const unsigned char*>view.buf)
        finally:
            PyBuffer_Release(&view)
        total += varint_size(head.columns + 1) + varint_size(head.rows) + rest
        total += column_head_size(ID, TYPE) + head.rows * 16
        rows += head.rows
    if rows > 0xFFFFFFFF:
        raise ValueError("too many quarantine rows for one insert")
    body = PyBytes_FromStringAndSize(NULL, total)
    to = <unsigned char*>PyBytes_AS_STRING(body)
    for block in blocks:
        PyObject_GetBuffer(block, &view, PyBUF_SIMPLE)
        read_head(<const unsigned char*>view.buf, <size_t>view.len, &head)
        rest = <size_t>view.len - <size_t>(head.first - <const unsigned char*>view.buf)
        to = write_varint(to, head.columns + 1)
        to = write_varint(to, head.rows)
        to = write_bytes(to, head.first, rest)
        to = write_column_head(to, ID, TYPE)
        to = write_ids(to, &head, hashed, <unsigned int>number)
        number += head.rows
        PyBuffer_Release(&view)
    return body
