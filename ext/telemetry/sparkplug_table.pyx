# cython: language_level=3
"""The metrics that one birth announced, to be found by alias and by name.

Senders choose both, so nothing is hashed: no choice of theirs makes a lookup slow.
"""

from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    MAX_TEXT_BYTES = 0x7FFFFFFF

cdef struct NamePlace:
    const unsigned char* at
    unsigned int size
    unsigned int metric

cdef struct Sizes:
    size_t text                 # bytes
    size_t metrics              # that are kept
    size_t aliases              # of these
    unsigned long long low      # of the aliases
    unsigned long long high
    bint is_direct


cdef int compare_names(const void* left, const void* right) noexcept nogil:
    cdef NamePlace* a = <NamePlace*>left
    cdef NamePlace* b = <NamePlace*>right
    cdef int order = memcmp(a.at, b.at, min(a.size, b.size))
    if order:
        return order
    if a.size != b.size:
        return -1 if a.size < b.size else 1
    return -1 if a.metric < b.metric else 1


cdef int compare_aliases(const void* left, const void* right) noexcept nogil:
    cdef AliasPlace* a = <AliasPlace*>left
    cdef AliasPlace* b = <AliasPlace*>right
    if a.alias != b.alias:
        return -1 if a.alias < b.alias else 1
    return -1 if a.metric < b.metric else 1


cdef Sizes sizes_of(const Announced* metrics, size_t count) noexcept nogil:
    cdef Sizes sizes
    cdef size_t i
    memset(&sizes, 0, sizeof(Sizes))
    sizes.low = 0xFFFFFFFFFFFFFFFFULL
    for i in range(count):
        if metrics[i].name_size > MAX_NAME_BYTES:
            continue
        sizes.metrics += 1
        sizes.text += metrics[i].name_size + metrics[i].unit_size
        if metrics[i].has_alias:
            sizes.aliases += 1
            sizes.low = min(sizes.low, metrics[i].alias)
            sizes.high = max(sizes.high, metrics[i].alias)
    # Aliases are nearly always small and close together: then a table is indexed by them.
    sizes.is_direct = sizes.aliases > 0 and sizes.high - sizes.low < 4 * sizes.aliases + 64
    return sizes


cdef size_t table_bytes(const Announced* metrics, size_t count) noexcept nogil:
    cdef Sizes sizes = sizes_of(metrics, count)
    cdef size_t needed = sizes.text + sizes.metrics * (sizeof(BornMetric) + sizeof(int))
    if sizes.is_direct:
        return needed + (sizes.high - sizes.low + 1) * sizeof(int)
    return needed + sizes.aliases * sizeof(AliasPlace)


cdef int fill_table(MetricTable* table, const Announced* metrics, size_t count) noexcept nogil:
    cdef Sizes sizes = sizes_of(metrics, count)
    cdef NamePlace* places
    cdef size_t i, at = 0
    if sizes.text > MAX_TEXT_BYTES:
        return -1
    memset(table, 0, sizeof(MetricTable))
    table.text = <unsigned char*>malloc(sizes.text + 1)
    table.metrics = <BornMetric*>calloc(sizes.metrics + 1, sizeof(BornMetric))
    table.names = <unsigned int*>malloc((sizes.metrics + 1) * sizeof(int))
    places = <NamePlace*>malloc((sizes.metrics + 1) * sizeof(NamePlace))
    if sizes.is_direct:
        table.direct = <unsigned int*>calloc(sizes.high - sizes.low + 1, sizeof(int))
        table.alias_base = sizes.low
        table.alias_span = sizes.high - sizes.low + 1
    else:
        table.sorted = <AliasPlace*>malloc((sizes.aliases + 1) * sizeof(AliasPlace))
    if table.text == NULL or table.metrics == NULL or table.names == NULL or places == NULL \
            or (table.direct == NULL and table.sorted == NULL):
        release_table(table)
        free(places)
        return -1
    for i in range(count):
        if metrics[i].name_size <= MAX_NAME_BYTES:
            at = add_metric(table, &metrics[i], at, places)
    sort_aliases(table)
    sort_names(table, places)
    free(places)
    return 0


cdef size_t add_metric(MetricTable* table, const Announced* metric, size_t at, NamePlace* places) noexcept nogil:
    """Append a metric with its texts at `at`. Returns where the next texts go."""
    cdef BornMetric* born = &table.metrics[table.metric_count]
    cdef NamePlace* place = &places[table.metric_count]
    born.alias = metric.alias
    born.has_alias = metric.has_alias
    born.is_control = metric.is_control
    born.datatype = metric.datatype
    born.name_at = <unsigned int>at
    born.name_size = <unsigned short>metric.name_size
    born.unit_at = <unsigned int>(at + metric.name_size)
    born.unit_size = metric.unit_size
    memcpy(table.text + at, metric.name, metric.name_size)
    if metric.unit_size:                # else `unit` may be NULL
        memcpy(table.text + born.unit_at, metric.unit, metric.unit_size)
    place.at = table.text + at
    place.size = metric.name_size
    place.metric = table.metric_count
    if metric.has_alias and table.direct != NULL:
        table.direct[metric.alias - table.alias_base] = table.metric_count + 1
    elif metric.has_alias:
        table.sorted[table.alias_count].alias = metric.alias
        table.sorted[table.alias_count].metric = table.metric_count
        table.alias_count += 1
    table.metric_count += 1
    return at + metric.name_size + metric.unit_size


cdef void sort_aliases(MetricTable* table) noexcept nogil:
    """Of an alias given twice the last counts."""
    cdef size_t i, at = 0
    if table.alias_count == 0:
        return
    qsort(table.sorted, table.alias_count, sizeof(AliasPlace), compare_aliases)
    for i in range(1, table.alias_count):
        if table.sorted[i].alias != table.sorted[at].alias:
            at += 1
        table.sorted[at] = table.sorted[i]
    table.alias_count = <unsigned int>at + 1


cdef void sort_names(MetricTable* table, NamePlace* places) noexcept nogil:
    """Of a name given twice the last counts."""
    cdef size_t i, at = 0
    if table.metric_count == 0:
        return
    qsort(places, table.metric_count, sizeof(NamePlace), compare_names)
    table.names[0] = places[0].metric
    for i in range(1, table.metric_count):
        if places[i].size != places[i - 1].size or memcmp(places[i].at, places[i - 1].at, places[i].size) != 0:
            at += 1
        else:
            table.metrics[table.names[at]].is_shadowed = 1
        table.names[at] = places[i].metric
    table.name_count = <unsigned int>at + 1


cdef void release_table(MetricTable* table) noexcept nogil:
    free(table.text)
    free(table.metrics)
    free(table.names)
    free(table.direct)
    free(table.sorted)
    memset(table, 0, sizeof(MetricTable))


cdef BornMetric* find_sorted(const MetricTable* table, unsigned long long alias) noexcept nogil:
    cdef unsigned int low = 0, high = table.alias_count, middle
    while low < high:
        middle = (low + high) // 2
        if table.sorted[middle].alias < alias:
            low = middle + 1
        else:
            high = middle
    if low < table.alias_count and table.sorted[low].alias == alias:
        return &table.metrics[table.sorted[low].metric]
    return NULL


cdef BornMetric* find_name(const MetricTable* table, const unsigned char* name, size_t size) noexcept nogil:
    cdef unsigned int low = 0, high = table.name_count, middle
    cdef BornMetric* born
    cdef int order
    while low < high:
        middle = (low + high) // 2
        born = &table.metrics[table.names[middle]]
        order = memcmp(table.text + born.name_at, name, min(<size_t>born.name_size, size))
        if order == 0 and born.name_size == size:
            return born
        if order < 0 or (order == 0 and born.name_size < size):
            low = middle + 1
        else:
            high = middle
    return NULL
