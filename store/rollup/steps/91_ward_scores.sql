-- The months of wards and their ranks. An alarm of a month's end may be closed in the next: a day also renews the month of a week before.
-- target: cityfleet.ward_scores
-- source: cityfleet.ward_days
-- bucket: 1 day
-- deletes: itself
WITH
    toStartOfMonth(toDate({from:DateTime('UTC')} - INTERVAL 7 DAY, 'Asia/Ho_Chi_Minh')) AS first_month,
    addMonths(toStartOfMonth(toDate({to:DateTime('UTC')} - INTERVAL 1 SECOND, 'Asia/Ho_Chi_Minh')), 1) AS end_month,
    toDateTime(first_month, 'Asia/Ho_Chi_Minh') AS first_ts,
    toDateTime(end_month, 'Asia/Ho_Chi_Minh') AS end_ts,
    alarms AS
    (
        SELECT
            toStartOfMonth(toDate(since_ts, 'Asia/Ho_Chi_Minh')) AS month, ward_code, count() AS alarms_n,
            count(acknowledged_at) AS acknowledged_n, count(closed_at) AS closed_n, countIf(status = 'false_alarm') AS false_n,
            quantileExactInclusiveOrNull(0.5)(dateDiff('millisecond', since_ts, acknowledged_at) / 60000) AS tta_p50_min,
            quantileExactInclusiveOrNull(0.5)(dateDiff('millisecond', since_ts, closed_at) / 60000) AS ttc_p50_min
        FROM ioc.ward_alarms
        WHERE since_ts >= first_ts AND since_ts < end_ts
        GROUP BY month, ward_code
    ),
    days AS
    (
        SELECT
            toStartOfMonth(toDate(d.ts, 'Asia/Ho_Chi_Minh')) AS month, d.ward_code AS ward_code,
            sum(d.expected_n) AS expected_n, sum(d.received_n) AS received_n, sum(d.good_n) AS good_n,
            sum(d.suspect_n) AS suspect_n, sum(d.fail_n) AS fail_n, max(d.last_ts) AS last_ts
        FROM cityfleet.ward_days AS d FINAL
        WHERE d.ts >= first_ts AND d.ts < end_ts
        GROUP BY month, ward_code
    ),
    measured AS
    (
        SELECT
            m.month AS month, m.ward_code AS ward_code, a.alarms_n AS alarms_n, a.acknowledged_n AS acknowledged_n,
            a.closed_n AS closed_n, a.false_n AS false_n, a.tta_p50_min AS tta_p50_min, a.ttc_p50_min AS ttc_p50_min,
            if(a.closed_n > 0, a.false_n / a.closed_n, NULL) AS false_share,
            if(d.expected_n > 0, d.received_n / d.expected_n, NULL) AS availability,
            if(a.alarms_n > 0, 1 - a.acknowledged_n / a.alarms_n, NULL) AS missed_share, d.good_n AS good_n,
            d.suspect_n AS suspect_n, d.fail_n AS fail_n, d.last_ts AS last_ts
        FROM
        (
            SELECT
                w.ward_code AS ward_code,
                arrayJoin(arrayMap(i -> addMonths(first_month, i), range(toUInt32(dateDiff('month', first_month, end_month))))) AS month
            FROM cityfleet.wards AS w FINAL
        ) AS m
        LEFT JOIN alarms AS a ON a.month = m.month AND a.ward_code = m.ward_code
        LEFT JOIN days AS d ON d.month = m.month AND d.ward_code = m.ward_code
    ),
    -- Places from 0 (best) to 1; a ward without the measure has none.
    placed AS
    (
        SELECT
            *,
            -- Of a month without an alarm and a day there is nothing to tell, whatever window it is in.
            max(alarms_n > 0 OR availability IS NOT NULL) OVER (PARTITION BY month) AS is_told,
            [
                if(missed_share IS NULL, NULL, (rank() OVER (PARTITION BY month, missed_share IS NULL ORDER BY missed_share) - 1)
                    / greatest(count(missed_share) OVER (PARTITION BY month) - 1, 1)),
                if(tta_p50_min IS NULL, NULL, (rank() OVER (PARTITION BY month, tta_p50_min IS NULL ORDER BY tta_p50_min) - 1)
                    / greatest(count(tta_p50_min) OVER (PARTITION BY month) - 1, 1)),
                if(ttc_p50_min IS NULL, NULL, (rank() OVER (PARTITION BY month, ttc_p50_min IS NULL ORDER BY ttc_p50_min) - 1)
                    / greatest(count(ttc_p50_min) OVER (PARTITION BY month) - 1, 1)),
                if(false_share IS NULL, NULL, (rank() OVER (PARTITION BY month, false_share IS NULL ORDER BY false_share) - 1)
                    / greatest(count(false_share) OVER (PARTITION BY month) - 1, 1)),
                if(availability IS NULL, NULL, (rank() OVER (PARTITION BY month, availability IS NULL ORDER BY availability DESC) - 1)
                    / greatest(count(availability) OVER (PARTITION BY month) - 1, 1))
            ] AS places,
            arrayMap(x -> assumeNotNull(x), arrayFilter(x -> x IS NOT NULL, places)) AS known,
            if(empty(known), NULL, round(arraySum(known) / length(known), 9)) AS score
        FROM measured
    )
SELECT
    month, ward_code, alarms_n, acknowledged_n, closed_n, false_n, tta_p50_min, ttc_p50_min, false_share, availability,
    good_n, suspect_n, fail_n, last_ts,
    if(score IS NULL, NULL, toUInt16(rank() OVER (PARTITION BY month, score IS NULL ORDER BY score))) AS rank,
    toUInt16(count(score) OVER (PARTITION BY month)) AS wards_n, toUInt8(0) AS is_deleted
FROM placed
WHERE is_told
