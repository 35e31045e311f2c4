-- What is open, each minute, with what people have done about it since it began: question 24. An action of a later minute is laid
-- upon its row by who writes it down (store/alarm_actions.py).
-- target: cityfleet.open_alarms_now
-- time: since_ts
-- source: cityfleet.alarm_periods, cityfleet.street_floods
-- bucket: 1 hour
-- live: yes
-- replaces: all
SELECT
    if({from:DateTime('UTC')} <= now('UTC') AND {to:DateTime('UTC')} > now('UTC'),
        (SELECT count() FROM cityfleet.ward_troubles) + (SELECT count() FROM cityfleet.open_alarms_now), 0);
SELECT
    b.ward_code AS ward_code, b.domain AS domain, b.object_id AS object_id, b.severity AS severity, b.title AS title, b.value AS value,
    b.threshold AS threshold, b.since_ts AS since_ts, if(empty(b.taken), '', b.taken[-1].4) AS owner,
    if(empty(b.taken), NULL, b.taken[1].1) AS acknowledged_at, w.name AS ward_name, b.last_ts AS last_ts, b.good_n AS good_n,
    b.coverage AS coverage, CAST((b.good_n, b.suspect_n, b.fail_n), 'Tuple(good UInt64, suspect UInt64, fail UInt64)') AS quality,
    b.method AS method, b.unit AS unit, b.source AS source, if(empty(b.taken), 'open', toString(b.taken[-1].3)) AS status,
    if(empty(b.taken), '', b.taken[-1].5) AS note, b.version AS made_ms
FROM
(
    SELECT t.*, arrayFilter(x -> x.1 >= t.since_ts, a.actions) AS taken
    FROM (SELECT * FROM cityfleet.ward_troubles FINAL WHERE {from:DateTime('UTC')} < {to:DateTime('UTC')}) AS t
    LEFT JOIN
    (
        SELECT ward_code, domain, object_id, arraySort(groupArray((acted_at, written_at, action, owner, note))) AS actions
        FROM cityfleet.alarm_actions
        WHERE acted_at > now64(3, 'UTC') - INTERVAL 60 DAY
        GROUP BY ward_code, domain, object_id
    ) AS a ON a.ward_code = t.ward_code AND a.domain = t.domain AND a.object_id = t.object_id
) AS b
LEFT JOIN (SELECT ward_code, name FROM cityfleet.wards FINAL) AS w ON w.ward_code = b.ward_code
