-- Six hours of the latency behind gateways at once: to put histograms together is most of the work of an answer.
-- target: cityfleet.gateway_latency_6h
-- source: cityfleet.gateway_latency_1h
-- bucket: 6 hours
SELECT
    toDateTime(intDiv(toUnixTimestamp(h.ts), 21600) * 21600, 'UTC') AS ts, h.gateway_id AS gateway_id, h.ward_code AS ward_code,
    toUInt32(sum(h.sampled_n)) AS sampled_n, toUInt32(sum(h.good_n)) AS good_n, toUInt32(sum(h.suspect_n)) AS suspect_n,
    toUInt32(sum(h.fail_n)) AS fail_n, toUInt32(sum(h.future_n)) AS future_n, toUInt32(sum(h.late_n)) AS late_n,
    min(h.least_ms) AS least_ms, max(h.last_ts) AS last_ts, sumMap(h.buckets, h.counts) AS histogram, histogram.1 AS buckets,
    arrayMap(n -> toUInt32(n), histogram.2) AS counts, arraySort(groupArray(h.ts)) AS hours
FROM cityfleet.gateway_latency_1h AS h FINAL
WHERE h.ts >= {from:DateTime('UTC')} AND h.ts < {to:DateTime('UTC')}
GROUP BY ts, gateway_id, ward_code
