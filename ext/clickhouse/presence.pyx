# cython: language_level=3
"""Whether the rows of an insert are in the store: the insert's rows merged with the store's, both in the table's order.

Exact, and with no more memory than the insert itself: the store's rows are looked at as they come.
"""

from libc.string cimport memcmp, memcpy

cdef enum:
    ROW_BYTES = 33

cdef struct Found:                  # a row of the store, as RowBinary has it
    unsigned int device_num
    unsigned short metric_num
    long long ts_ms
    long long received_ms
    const unsigned char* measured   # value, quality, reasons as they lie: 8 + 1 + 2 bytes


WIDTHS = (("device_num", 4), ("metric_num", 2), ("ts", 8), ("value", 8), ("quality_reasons", 2), ("received_at", 8))


cdef class Presence:
    """Rows with one identity (device, metric, time) are one reading: of several the last of the latest arrival counts.

    A reading is there if the store has its identity with a later arrival, or with the same arrival and the same value:
    what the table keeps then is the same whether the insert is done again or not.
    """

    cdef const unsigned char[::1] device_num, metric_num, ts, value, quality, reasons, received
    cdef size_t rows
    cdef size_t first, end, best    # the reading that is looked for: its rows, and the one that counts
    cdef bint is_found, is_missing
    cdef unsigned char rest[ROW_BYTES]
    cdef size_t rest_size

    def __init__(self, columns) -> None:
        """
        Args:
            columns: by name, the bytes of the columns of n >= 1 rows of `readings`, sorted by (device_num, metric_num,
                ts) and by arrival in the insert.
        Raises: ValueError if the columns differ in length or there are no rows.
        """
        self.device_num = columns["device_num"]
        self.metric_num = columns["metric_num"]
        self.ts = columns["ts"]
        self.value = columns["value"]
        self.quality = columns["quality"]
        self.reasons = columns["quality_reasons"]
        self.received = columns["received_at"]
        self.rows = len(self.quality)
        for name, width in WIDTHS:
            if self.rows == 0 or len(columns[name]) != width * self.rows:
                raise ValueError("columns of different length")
        self._look_for(0)

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int], int]:
        """First and last device_num, first and last ts in ms, and the first received_at in ms."""
        cdef long long ts, received
        cdef long long first = self._long(self.ts, 0), last = first, arrived = self._long(self.received, 0)
        cdef size_t i
        for i in range(self.rows):
            ts = self._long(self.ts, i)
            received = self._long(self.received, i)
            first = min(first, ts)
            last = max(last, ts)
            arrived = min(arrived, received)
        return (self._device(0), self._device(self.rows - 1)), (first, last), arrived

    def feed(self, const unsigned char[::1] data) -> bool:
        """More of the store's rows: (device_num, metric_num, ts, received_at, value, quality, quality_reasons) as
        RowBinary, sorted by the first three, cut anywhere. False once a row is known to be missing."""
        cdef size_t at = 0, size = len(data), take
        if self.rest_size:
            take = min(size, ROW_BYTES - self.rest_size)
            if take:
                memcpy(self.rest + self.rest_size, &data[0], take)
            self.rest_size += take
            at = take
            if self.rest_size < ROW_BYTES:
                return not self.is_missing
            self._take(self.rest)
            self.rest_size = 0
        while size - at >= ROW_BYTES and not self.is_missing:
            self._take(&data[at])
            at += ROW_BYTES
        if at < size and not self.is_missing:
            self.rest_size = size - at
            memcpy(self.rest, &data[at], self.rest_size)
        return not self.is_missing

    def is_whole(self) -> bool:
        """After the store's last row: all of the insert is there."""
        return (not self.is_missing and self.rest_size == 0
                and (self.first == self.rows or (self.is_found and self.end == self.rows)))

    cdef inline unsigned int _device(self, size_t row) noexcept nogil:
        cdef unsigned int found
        memcpy(&found, &self.device_num[row * 4], 4)
        return found

    cdef inline unsigned short _metric(self, size_t row) noexcept nogil:
        cdef unsigned short found
        memcpy(&found, &self.metric_num[row * 2], 2)
        return found

    cdef inline long long _long(self, const unsigned char[::1] column, size_t row) noexcept nogil:
        cdef long long found
        memcpy(&found, &column[row * 8], 8)
        return found

    cdef int _compare(self, size_t row, unsigned int device_num, unsigned short metric_num,
                      long long ts_ms) noexcept nogil:
        """As the table sorts: below 0 if the row comes before these."""
        cdef unsigned int device = self._device(row)
        cdef unsigned short metric = self._metric(row)
        cdef long long ts = self._long(self.ts, row)
        if device != device_num:
            return -1 if device < device_num else 1
        if metric != metric_num:
            return -1 if metric < metric_num else 1
        return (ts > ts_ms) - (ts < ts_ms)

    cdef void _look_for(self, size_t first) noexcept nogil:
        cdef size_t row
        self.first = first
        self.best = first
        self.end = first
        self.is_found = False
        if first == self.rows:
            return
        row = first + 1
        while (row < self.rows
               and self._compare(row, self._device(first), self._metric(first), self._long(self.ts, first)) == 0):
            if self._long(self.received, row) >= self._long(self.received, self.best):
                self.best = row
            row += 1
        self.end = row

    cdef void _take(self, const unsigned char* raw) noexcept nogil:
        cdef Found found
        cdef int order
        memcpy(&found.device_num, raw, 4)
        memcpy(&found.metric_num, raw + 4, 2)
        memcpy(&found.ts_ms, raw + 6, 8)
        memcpy(&found.received_ms, raw + 14, 8)
        found.measured = raw + 22
        while self.first < self.rows:
            order = self._compare(self.first, found.device_num, found.metric_num, found.ts_ms)
            if order > 0:           # a reading of somebody else
                return
            if order == 0:
                self.is_found = self.is_found or self._is_kept(&found)
                return
            if not self.is_found:
                self.is_missing = True
                return
            self._look_for(self.end)

    cdef bint _is_kept(self, const Found* found) noexcept nogil:
        cdef long long received = self._long(self.received, self.best)
        if found.received_ms != received:
            return found.received_ms > received
        return (memcmp(found.measured, &self.value[self.best * 8], 8) == 0
                and found.measured[8] == self.quality[self.best]
                and memcmp(found.measured + 9, &self.reasons[self.best * 2], 2) == 0)
