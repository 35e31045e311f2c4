# The metrics that one birth announced, to be found by alias and by name.

cdef struct BornMetric:
    unsigned long long alias
    unsigned int name_at        # into MetricTable.text, the unit behind it
    unsigned int unit_at
    unsigned int own_at         # where the name lies in the arena of the Readings,
    unsigned int own_round      # if it was put there in this round of the decoder
    unsigned short name_size
    unsigned char unit_size     # 0: none given
    unsigned char datatype
    unsigned char has_alias
    unsigned char is_control    # not a reading
    unsigned char is_shadowed   # another of the same name comes later and counts

cdef struct AliasPlace:
    unsigned long long alias
    unsigned int metric

cdef struct MetricTable:        # all zero: empty
    unsigned char* text         # names and units
    BornMetric* metrics         # in the order of the birth
    unsigned int* names         # metrics in the order of their names
    unsigned int* direct        # alias - alias_base -> metric + 1; NULL: `sorted` is used
    AliasPlace* sorted          # by alias
    unsigned long long alias_base
    unsigned long long alias_span
    unsigned int metric_count
    unsigned int alias_count    # of sorted
    unsigned int name_count     # of names

# A metric as a birth gives it; the bytes are borrowed.
cdef struct Announced:
    const unsigned char* name
    const unsigned char* unit
    unsigned long long alias
    unsigned int name_size
    unsigned char unit_size
    unsigned char datatype
    unsigned char has_alias
    unsigned char is_control

cdef enum:
    MAX_NAME_BYTES = 1024       # a metric with a longer name is not remembered

# What a table of these metrics takes.
cdef size_t table_bytes(const Announced* metrics, size_t count) noexcept nogil
# Fills an empty table. Returns -1, and the table is still empty, if memory ran out.
cdef int fill_table(MetricTable* table, const Announced* metrics, size_t count) noexcept nogil
cdef void release_table(MetricTable* table) noexcept nogil
# The metric of that name, or NULL.
cdef BornMetric* find_name(const MetricTable* table, const unsigned char* name, size_t size) noexcept nogil
cdef BornMetric* find_sorted(const MetricTable* table, unsigned long long alias) noexcept nogil


cdef inline BornMetric* find_alias(const MetricTable* table, unsigned long long alias) noexcept nogil:
    """The metric of that alias, or NULL."""
    cdef unsigned long long at = alias - table.alias_base
    if table.direct == NULL:
        return find_sorted(table, alias)
    if at >= table.alias_span or table.direct[at] == 0:
        return NULL
    return &table.metrics[table.direct[at] - 1]
