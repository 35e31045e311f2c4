# cython: language_level=3
"""Blocks of cityfleet.readings in the table's order, as one block; and the newest row of each series.

The engine sorts what it is given, and a materialized view would find the newest rows by a hash table of its own. Both
cost it more than this: one pass that numbers the series, one that puts every row straight to its place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport madvise
from posix.stdlib cimport posix_memalign

from ext.clickhouse.native cimport column_head_size, varint_size, write_bytes, write_column_head, write_varint

from ext.clickhouse.readings_block import COLUMNS

cdef enum:
    WARD = 6                        # the number of the column that is not of fixed size
    COLUMN_COUNT = 8
    MAX_WARDS = 1 << 16
    MAX_ROWS = 1 << 24
    # SerializationLowCardinality: a dictionary that lives as long as the block ("additional keys")
    SHARED_DICTIONARIES = 1
    DICTIONARY_FLAGS = (1 << 9) | (1 << 10)
    SMALLEST_TABLE = 1 << 12
    # The time of arrival is noise below a second, and would take a third of the space of a stored reading.
    RECEIVED_STEP_MS = 1000
    HUGE_PAGE = 1 << 21
    MADV_HUGEPAGE = 14              # Linux; elsewhere a refusal that changes nothing

cdef struct Columns:                # one block: where each column begins; not aligned
    size_t rows
    const unsigned char* at[COLUMN_COUNT]
    size_t ward_width               # bytes of an index
    unsigned short* ward_of         # our number of a ward by the block's
    size_t wards

cdef struct Series:
    unsigned long long key          # device_num << 16 | metric_num
    long long newest_ms
    unsigned int rows
    unsigned int next               # where its next row goes
    bint is_disordered              # a row came after a newer one

cdef struct Row:                    # on its way from its block to its place: half a line of the cache
    long long ts_ms
    long long received_ms
    double value
    unsigned short quality_reasons
    unsigned short ward
    unsigned int quality            # the low byte; above it the row's number while a series is put in order


cdef int by_key(const void* left, const void* right) noexcept nogil:
    cdef unsigned long long a = (<Series**>left)[0].key, b = (<Series**>right)[0].key
    return (a > b) - (a < b)


cdef int by_time(const void* left, const void* right) noexcept nogil:
    """Rows of one time stay in the order in which they came: of copies the engine keeps the last."""
    cdef const Row* a = <const Row*>left
    cdef const Row* b = <const Row*>right
    if a.ts_ms != b.ts_ms:
        return (a.ts_ms > b.ts_ms) - (a.ts_ms < b.ts_ms)
    return (a.quality >> 8 > b.quality >> 8) - (a.quality >> 8 < b.quality >> 8)


cdef int read_varint(const unsigned char** at, const unsigned char* end, unsigned long long* value) noexcept:
    cdef int shift = 0
    cdef unsigned char byte
    value[0] = 0
    while at[0] < end and shift < 63:
        byte = at[0][0]
        at[0] += 1
        value[0] |= <unsigned long long>(byte & 0x7F) << shift
        if byte < 0x80:
            return 0
        shift += 7
    return -1


cdef int read_head(const unsigned char** at, const unsigned char* end, bytes head) noexcept:
    cdef size_t size = len(head)
    if <size_t>(end - at[0]) < size or memcmp(at[0], <const unsigned char*>head, size) != 0:
        return -1
    at[0] += size
    return 0


cdef inline size_t slot_of(unsigned long long key, size_t mask) noexcept nogil:
    return (key * 0x9E3779B97F4A7C15ULL >> 24) & mask


cdef class SeriesOrder:
    """Keeps its working memory from one call to the next; not for two threads at once."""

    cdef tuple heads                # the name and type of each column, as they stand in a block
    cdef size_t[COLUMN_COUNT] widths
    cdef Columns* blocks
    cdef size_t block_count, block_room
    cdef unsigned int* series_of    # by row, in the order of arrival
    cdef Row* rows
    cdef size_t row_room
    cdef Series* series
    cdef Series** order
    cdef size_t series_count, series_room
    cdef unsigned int* table        # number of a series + 1, by hash
    cdef size_t table_mask
    cdef dict wards
    cdef list views

    def __cinit__(self):
        self.heads = tuple([bytes((len(name),)) + name + bytes((len(type_),)) + type_ for name, type_, _ in COLUMNS])
        for i, (_, _, width) in enumerate(COLUMNS):
            self.widths[i] = width

    def __dealloc__(self):
        self._forget_blocks()
        free(self.blocks)
        free(self.series_of)
        free(self.rows)
        free(self.series)
        free(self.order)
        free(self.table)

    def sort(self, blocks) -> tuple[bytes, bytes]:
        """The rows by (device_num, metric_num, ts) as one Native block, and a block of each series' newest row.

        Args:
            blocks: at least one block as ReadingsBlock seals it, any bytes-like object.
        Returns: two blocks of the same columns, received_at cut to whole seconds; equal blocks in the same order give
            equal bytes. Of rows with one identity the order is kept, and the last of them is the newest.
        Raises: ValueError if a block has other columns or is cut short; MemoryError.
        """
        cdef size_t rows = 0
        cdef size_t i
        cdef const unsigned char[::1] view
        self.wards = {}
        self.views = []
        try:
            for block in blocks:
                view = block
                self.views.append(view)
                if self._read(&view[0] if view.shape[0] else NULL, view.shape[0]) != 0:
                    raise ValueError("not a block of cityfleet.readings")
            for i in range(self.block_count):
                rows += self.blocks[i].rows
            if rows == 0 or rows > MAX_ROWS:
                raise ValueError(f"{rows} rows cannot be put in order")
            return self._sorted(rows)
        finally:
            self._forget_blocks()
            self.views = []

    cdef void _forget_blocks(self) noexcept:
        cdef size_t i
        for i in range(self.block_count):
            free(self.blocks[i].ward_of)
        self.block_count = 0

    cdef int _read(self, const unsigned char* at, size_t size) except -2:
        """Find the columns of all blocks that lie side by side in these bytes. Returns -1 for bytes that are none."""
        cdef const unsigned char* end = at + size
        cdef unsigned long long columns, rows
        cdef Columns* found
        cdef int i
        while at < end:
            if read_varint(&at, end, &columns) or read_varint(&at, end, &rows) or columns != COLUMN_COUNT:
                return -1
            if rows > size:
                return -1
            if self.block_count == self.block_room:
                self.block_room = max(self.block_room * 2, <size_t>64)
                self.blocks = <Columns*>grown(self.blocks, self.block_room * sizeof(Columns))
            found = &self.blocks[self.block_count]
            memset(found, 0, sizeof(Columns))
            found.rows = rows
            self.block_count += 1
            for i in range(COLUMN_COUNT):
                if read_head(&at, end, self.heads[i]) != 0:
                    return -1
                if i == WARD:
                    if self._read_wards(&at, end, found) != 0:
                        return -1
                    continue
                if <size_t>(end - at) < self.widths[i] * rows:
                    return -1
                found.at[i] = at
                at += self.widths[i] * rows
        return 0

    cdef int _read_wards(self, const unsigned char** at, const unsigned char* end, Columns* found) except -2:
        cdef unsigned long long version, flags, count, size, rows
        cdef size_t i
        if end - at[0] < 24:
            return -1
        memcpy(&version, at[0], 8)
        memcpy(&flags, at[0] + 8, 8)
        memcpy(&count, at[0] + 16, 8)
        at[0] += 24
        if version != SHARED_DICTIONARIES or (flags & ~1ULL) != DICTIONARY_FLAGS or count == 0 or count > MAX_WARDS:
            return -1
        found.ward_width = 1 + (flags & 1)
        found.wards = count
        found.ward_of = <unsigned short*>grown(NULL, count * sizeof(unsigned short))
        for i in range(count):
            if read_varint(at, end, &size) or size > <size_t>(end - at[0]):
                return -1
            number = self.wards.setdefault(at[0][:size], len(self.wards))
            if number >= MAX_WARDS:
                return -1
            found.ward_of[i] = number
            at[0] += size
        if end - at[0] < 8:
            return -1
        memcpy(&rows, at[0], 8)
        at[0] += 8
        if rows != found.rows or <size_t>(end - at[0]) < rows * found.ward_width:
            return -1
        found.at[WARD] = at[0]
        at[0] += rows * found.ward_width
        for i in range(rows):           # an index beyond the dictionary must not be followed
            if ward_at(found, i) >= count:
                return -1
        return 0

    cdef tuple _sorted(self, size_t rows):
        cdef bytes keys = b"".join([bytes((len(ward),)) + ward if len(ward) < 128 else _long(ward)
                                    for ward in self.wards])
        cdef size_t ward_width = 1 if len(self.wards) <= 256 else 2
        cdef unsigned char* to[COLUMN_COUNT]
        cdef unsigned char* newest[COLUMN_COUNT]
        cdef bytes body, latest
        if self.row_room < rows:
            self._make_room(rows)
        with nogil:
            failed = self._number_series()
        if failed:
            raise MemoryError
        body = self._frame(rows, keys, ward_width, to)
        latest = self._frame(self.series_count, keys, ward_width, newest)
        with nogil:
            self._place()
            self._write(to, ward_width)
            self._write_newest(newest, ward_width)
        return body, latest

    cdef int _make_room(self, size_t rows) except -1:
        cdef size_t size = (rows * sizeof(Row) + HUGE_PAGE - 1) // HUGE_PAGE * HUGE_PAGE
        free(self.rows)
        self.rows = NULL
        self.row_room = 0
        self.series_of = <unsigned int*>grown(self.series_of, rows * sizeof(unsigned int))
        # Rows are written here and there: with pages of 4 kB most would miss the table of pages.
        if posix_memalign(<void**>&self.rows, HUGE_PAGE, size):
            raise MemoryError
        madvise(self.rows, size, MADV_HUGEPAGE)
        self.row_room = rows
        return 0

    cdef bytes _frame(self, size_t rows, bytes keys, size_t ward_width, unsigned char** columns):
        """A block with everything but its values; `columns` gets the places of these."""
        cdef size_t size = varint_size(COLUMN_COUNT) + varint_size(rows)
        cdef unsigned long long[3] head
        cdef unsigned long long count = rows
        cdef bytes block
        cdef unsigned char* to
        cdef int i = 0
        for name, type_, width in COLUMNS:
            size += column_head_size(name, type_) + <size_t>width * rows
        size += 32 + len(keys) + ward_width * rows
        block = PyBytes_FromStringAndSize(NULL, size)
        to = <unsigned char*>PyBytes_AS_STRING(block)
        to = write_varint(to, COLUMN_COUNT)
        to = write_varint(to, rows)
        for name, type_, width in COLUMNS:
            to = write_column_head(to, name, type_)
            if i == WARD:
                head[0] = SHARED_DICTIONARIES
                head[1] = DICTIONARY_FLAGS | (ward_width - 1)
                head[2] = len(self.wards)
                to = write_bytes(to, head, 24)
                to = write_bytes(to, <const unsigned char*>keys, len(keys))
                to = write_bytes(to, &count, 8)
            columns[i] = to
            to += (ward_width if i == WARD else <size_t>width) * rows
            i += 1
        return block

    cdef int _number_series(self) noexcept nogil:
        """Fill `series` and `series_of`, then where each series begins. -1 if memory ran out."""
        cdef Columns* block
        cdef Series* one
        cdef size_t i, b, at, row = 0
        cdef unsigned long long key, before = 0xFFFFFFFFFFFFFFFFULL
        cdef unsigned int number = 0
        cdef unsigned int device_num
        cdef unsigned short metric_num
        self.series_count = 0
        if self._empty_table(SMALLEST_TABLE if self.table == NULL else self.table_mask + 1):
            return -1
        for b in range(self.block_count):
            block = &self.blocks[b]
            for i in range(block.rows):
                memcpy(&device_num, block.at[0] + i * 4, 4)
                memcpy(&metric_num, block.at[1] + i * 2, 2)
                key = <unsigned long long>device_num << 16 | metric_num
                if key != before:       # samples of one series often come together
                    at = slot_of(key, self.table_mask)
                    while self.table[at] and self.series[self.table[at] - 1].key != key:
                        at = (at + 1) & self.table_mask
                    if self.table[at] == 0:
                        if self._add_series(key, at):
                            return -1
                        number = <unsigned int>(self.series_count - 1)
                    else:
                        number = self.table[at] - 1
                    before = key
                self.series[number].rows += 1
                self.series_of[row] = number
                row += 1
        for i in range(self.series_count):
            self.order[i] = &self.series[i]
        qsort(self.order, self.series_count, sizeof(Series*), by_key)
        row = 0
        for i in range(self.series_count):
            one = self.order[i]
            one.next = <unsigned int>row
            row += one.rows
        return 0

    cdef int _add_series(self, unsigned long long key, size_t at) noexcept nogil:
        cdef Series* one
        cdef void* more
        cdef size_t i
        cdef size_t room = max(self.series_room * 2, <size_t>SMALLEST_TABLE)
        if self.series_count == self.series_room:
            more = realloc(self.series, room * sizeof(Series))
            if more == NULL:
                return -1
            self.series = <Series*>more
            more = realloc(self.order, room * sizeof(Series*))
            if more == NULL:
                return -1
            self.order = <Series**>more
            self.series_room = room
        one = &self.series[self.series_count]
        one.key = key
        one.rows = 0
        one.newest_ms = -0x7FFFFFFFFFFFFFFF
        one.is_disordered = False
        self.series_count += 1
        self.table[at] = <unsigned int>self.series_count
        if self.series_count * 2 <= self.table_mask:
            return 0
        if self._empty_table((self.table_mask + 1) * 4):
            return -1
        for i in range(self.series_count):
            at = slot_of(self.series[i].key, self.table_mask)
            while self.table[at]:
                at = (at + 1) & self.table_mask
            self.table[at] = <unsigned int>(i + 1)
        return 0

    cdef int _empty_table(self, size_t size) noexcept nogil:
        cdef void* fresh = self.table
        if self.table == NULL or size != self.table_mask + 1:
            fresh = malloc(size * sizeof(unsigned int))
            if fresh == NULL:
                return -1
            free(self.table)
        self.table = <unsigned int*>fresh
        self.table_mask = size - 1
        memset(self.table, 0, size * sizeof(unsigned int))
        return 0

    cdef void _place(self) noexcept nogil:
        """Put every row to its place in `rows`, then the rows of each series in the order of time."""
        cdef Columns* block
        cdef Series* one
        cdef Row* row
        cdef size_t i, b, at = 0
        for b in range(self.block_count):
            block = &self.blocks[b]
            for i in range(block.rows):
                one = &self.series[self.series_of[at]]
                at += 1
                row = &self.rows[one.next]
                one.next += 1
                memcpy(&row.ts_ms, block.at[2] + i * 8, 8)
                memcpy(&row.value, block.at[3] + i * 8, 8)
                row.quality = block.at[4][i]
                memcpy(&row.quality_reasons, block.at[5] + i * 2, 2)
                row.ward = block.ward_of[ward_at(block, i)]
                memcpy(&row.received_ms, block.at[7] + i * 8, 8)
                row.received_ms -= row.received_ms % RECEIVED_STEP_MS
                if row.ts_ms < one.newest_ms:
                    one.is_disordered = True
                else:
                    one.newest_ms = row.ts_ms
        for b in range(self.series_count):
            one = self.order[b]
            if one.is_disordered:
                row = self.rows + (one.next - one.rows)
                for i in range(one.rows):
                    row[i].quality |= <unsigned int>i << 8
                qsort(row, one.rows, sizeof(Row), by_time)

    cdef void _write(self, unsigned char** to, size_t ward_width) noexcept nogil:
        """All rows as columns."""
        cdef size_t i, at = 0
        for i in range(self.series_count):
            at = self._write_rows(to, ward_width, at, self.order[i], self.order[i].rows)

    cdef void _write_newest(self, unsigned char** to, size_t ward_width) noexcept nogil:
        """The last row of each series as columns."""
        cdef size_t i
        for i in range(self.series_count):
            self._write_rows(to, ward_width, i, self.order[i], 1)

    cdef size_t _write_rows(self, unsigned char** to, size_t ward_width, size_t at, Series* one,
                            size_t rows) noexcept nogil:
        """The last `rows` rows of a series, from place `at` on. Returns the place behind them."""
        cdef Row* row = self.rows + (one.next - rows)
        cdef unsigned int device_num = <unsigned int>(one.key >> 16)
        cdef unsigned short metric_num = <unsigned short>(one.key & 0xFFFF)
        cdef size_t end = at + rows
        while at < end:
            memcpy(to[0] + at * 4, &device_num, 4)
            memcpy(to[1] + at * 2, &metric_num, 2)
            memcpy(to[2] + at * 8, &row.ts_ms, 8)
            memcpy(to[3] + at * 8, &row.value, 8)
            to[4][at] = <unsigned char>row.quality
            memcpy(to[5] + at * 2, &row.quality_reasons, 2)
            if ward_width == 1:
                to[6][at] = <unsigned char>row.ward
            else:
                memcpy(to[6] + at * 2, &row.ward, 2)
            memcpy(to[7] + at * 8, &row.received_ms, 8)
            row += 1
            at += 1
        return end


cdef void* grown(void* memory, size_t size) except NULL:
    cdef void* more = realloc(memory, size)
    if more == NULL:
        raise MemoryError
    return more


cdef inline size_t ward_at(const Columns* block, size_t row) noexcept nogil:
    cdef unsigned short wide
    if block.ward_width == 1:
        return block.at[WARD][row]
    memcpy(&wide, block.at[WARD] + row * 2, 2)
    return wide


cdef bytes _long(bytes ward):
    """A Native string of 128 bytes or more."""
    size, digits = len(ward), bytearray()
    while size >= 0x80:
        digits.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes(digits) + bytes((size,)) + ward
