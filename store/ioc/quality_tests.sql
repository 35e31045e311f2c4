-- The tests of quality that the types ask for, and what the bits of the reasons mean. See docs/quality.md.

CREATE OR REPLACE VIEW ioc.quality_tests {on_cluster}
(
    device_type String COMMENT 'Name of the device type',
    metric_num UInt16 COMMENT 'Number of the metric inside the store',
    expected_interval_s Int64 COMMENT 'How often a reading of it should come, seconds; 0: no expectation',
    fail_min Nullable(Float64) COMMENT 'Gross range: a reading below fails; in the metric''s unit, as all that is not in seconds',
    fail_max Nullable(Float64) COMMENT 'Gross range: a reading above fails',
    suspect_min Nullable(Float64) COMMENT 'Gross range: a reading below is suspect',
    suspect_max Nullable(Float64) COMMENT 'Gross range: a reading above is suspect',
    climatology Array(Tuple(months Array(UInt8), fail_min Nullable(Float64), fail_max Nullable(Float64), suspect_min Nullable(Float64), suspect_max Nullable(Float64))) COMMENT 'The same by months of local time',
    spike_suspect Nullable(Float64) COMMENT 'Further than this from the mean of its neighbours: suspect',
    spike_fail Nullable(Float64) COMMENT 'Further than this: fails',
    rate_suspect_per_s Nullable(Float64) COMMENT 'Changed by more than this a second: suspect',
    rate_fail_per_s Nullable(Float64) COMMENT 'Changed by more than this a second: fails',
    flat_tolerance Float64 COMMENT 'Readings that differ by less are one line; 0: not tested',
    flat_suspect_s Int64 COMMENT 'A line so long: suspect; 0: not tested',
    flat_fail_s Int64 COMMENT 'A line so long: fails; 0: not tested',
    gap_suspect_s Nullable(Float64) COMMENT 'First reading after a longer gap: suspect',
    gap_fail_s Nullable(Float64) COMMENT 'First reading after a longer gap: fails',
    neighbour_s Int64 COMMENT 'A reading further away than this is no neighbour of another',
    compares Bool COMMENT 'Whether there is a test that compares readings, which the store carries out'
)
SQL SECURITY INVOKER
AS SELECT
    device_type, metric_num,
    toInt64(if(interval_s > 0, interval_s, type_interval_s)) AS expected_interval_s,
    fail_min, fail_max,
    JSONExtract(tests, 'suspect', 'min', 'Nullable(Float64)') AS suspect_min,
    JSONExtract(tests, 'suspect', 'max', 'Nullable(Float64)') AS suspect_max,
    arrayMap(
        entry -> (
            JSONExtract(entry, 'months', 'Array(UInt8)'),
            JSONExtract(entry, 'fail', 'min', 'Nullable(Float64)'), JSONExtract(entry, 'fail', 'max', 'Nullable(Float64)'),
            JSONExtract(entry, 'suspect', 'min', 'Nullable(Float64)'), JSONExtract(entry, 'suspect', 'max', 'Nullable(Float64)')
        ),
        JSONExtractArrayRaw(tests, 'climatology')
    ) AS climatology,
    JSONExtract(tests, 'spike', 'suspect', 'Nullable(Float64)') AS spike_suspect,
    JSONExtract(tests, 'spike', 'fail', 'Nullable(Float64)') AS spike_fail,
    JSONExtract(tests, 'rate_per_s', 'suspect', 'Nullable(Float64)') AS rate_suspect_per_s,
    JSONExtract(tests, 'rate_per_s', 'fail', 'Nullable(Float64)') AS rate_fail_per_s,
    JSONExtractFloat(tests, 'flat_line', 'tolerance') AS flat_tolerance,
    JSONExtractInt(tests, 'flat_line', 'suspect_s') AS flat_suspect_s,
    JSONExtractInt(tests, 'flat_line', 'fail_s') AS flat_fail_s,
    JSONExtract(tests, 'gap_s', 'suspect', 'Nullable(Float64)') AS gap_suspect_s,
    JSONExtract(tests, 'gap_s', 'fail', 'Nullable(Float64)') AS gap_fail_s,
    greatest(
        least(3 * expected_interval_s, 604800), toInt64(ceil(ifNull(gap_suspect_s, 0))), toInt64(ceil(ifNull(gap_fail_s, 0)))
    ) AS neighbour_s,
    JSONHas(tests, 'spike') OR JSONHas(tests, 'rate_per_s') OR JSONHas(tests, 'flat_line') OR JSONHas(tests, 'gap_s') AS compares
FROM
(
    SELECT
        device_type, expected_interval_s AS type_interval_s, metric_nums, metric_intervals_s, metric_min_values,
        metric_max_values, arrayResize(metric_tests, length(metric_nums)) AS metric_tests
    FROM cityfleet.device_types FINAL
)
ARRAY JOIN
    metric_nums AS metric_num, metric_intervals_s AS interval_s, metric_min_values AS fail_min,
    metric_max_values AS fail_max, metric_tests AS tests
COMMENT 'What is asked of the readings of a device type, by metric. Source: the device types of the registry; tests after QARTOD. Example: SELECT * EXCEPT climatology FROM ioc.quality_tests WHERE device_type = ''gauge-river''';

CREATE OR REPLACE VIEW ioc.quality_reasons {on_cluster}
(
    bit UInt16 COMMENT 'Set in quality_reasons: bitAnd(quality_reasons, bit) != 0',
    test String COMMENT 'Name of the test, or source: what the source said of its own reading',
    quality UInt8 COMMENT 'What it makes of a reading: 3 suspect, 4 fail',
    meaning String COMMENT 'In words'
)
SQL SECURITY INVOKER
AS SELECT reason.1 AS bit, reason.2 AS test, reason.3 AS quality, reason.4 AS meaning
FROM
(
    SELECT arrayJoin([
        (1, 'gross_range', 4, 'outside the range of the sensor'),
        (2, 'gross_range', 3, 'outside the range that is to be believed'),
        (4, 'climatology', 4, 'outside the range of the month'),
        (8, 'climatology', 3, 'outside what is usual in the month'),
        (16, 'spike', 4, 'far from the readings before and after'),
        (32, 'spike', 3, 'away from the readings before and after'),
        (64, 'rate_of_change', 4, 'changed much too fast'),
        (128, 'rate_of_change', 3, 'changed too fast'),
        (256, 'flat_line', 4, 'has not changed for much too long'),
        (512, 'flat_line', 3, 'has not changed for too long'),
        (1024, 'time_gap', 4, 'first after a much too long gap'),
        (2048, 'time_gap', 3, 'first after a gap'),
        (4096, 'source', 4, 'the source says: calibrating'),
        (8192, 'source', 4, 'the source says: device fault'),
        (16384, 'source', 3, 'the source says: suspect'),
        (32768, 'source', 4, 'the source says: invalid')
    ]) AS reason
)
COMMENT 'What the bits of quality_reasons mean. Example: SELECT test, count() FROM ioc.latest INNER JOIN ioc.quality_reasons ON bitAnd(quality_reasons, bit) != 0 GROUP BY test';
