"""The 25 questions of the operations centre: a view of ioc each, with its columns and what every answer carries."""

import pytest

from store.catalogue import catalogue

QUESTIONS = {
    1: "river_levels_now: gauge_id name river level_m ts age_s "
    "bd_level next_threshold_m gap_to_next_m rate_m_per_h qc_flag",
    2: "ward_alarms_now: ward_code ward_name river gauge_id bd_level since_ts declared order_ref",
    3: "river_forecast: gauge_id level_m slope_m_per_h next_level eta_ts eta_low eta_high n_points",
    4: "ward_rain_now: ward_code r1_mm r2_mm r3_mm r12_mm r24_mm class_24h exceeds_50mm_2h gauges_n gauges_reporting",
    5: "street_floods_open: site_id ward_code depth_mm max_depth_mm "
    "onset_ts minutes_open minutes_above_100mm minutes_above_300mm",
    6: "street_flood_events: event_id site_id ward_code onset_ts peak_depth_mm onset_min drain_min rain_2h_before_mm",
    7: "street_flood_sites: site_id ward_code events_n trigger_rain_p10_mm worst_depth_mm last_event_ts",
    8: "storm_rain_48h: ward_code r48_max_mm pct_of_310 window_start window_end",
    9: "congestion_now: segment_id ward_code speed_km_h ffs_km_h ratio los flow_veh_h occupancy typical_ratio delta",
    10: "worst_segments_last_hour: segment_id ward_code delay_veh_h flow_veh_h ratio minutes_at_EF",
    11: "network_los_by_hour: ward_code hour segments_n share_ab",
    12: "traffic_incidents: segment_id ward_code start_ts metric value typical robust_z minutes",
    13: "flood_effect_on_traffic: event_id segment_id distance_m speed_drop_pct flow_drop_pct minutes_affected",
    14: "vn_aqi_now: station_id ward_code ts vn_aqi dominant category colour advice_vi n_hours",
    15: "ward_vn_aqi_daily: ward_code day vn_aqi_d dominant category",
    16: "qcvn_exceedances: station_id parameter averaging exceed_n worst_value limit limit_valid_from",
    17: "ward_bad_air_hours: ward_code hours_gt150 max_vn_aqi mean_rain_mm rank",
    18: "aqi_scales: station_id ts vn_aqi us_aqi pm25_nowcast",
    19: "silent_devices: device_id kind ward_code gateway_id bts_site_id "
    "last_ts silent_s expected_interval_s siblings_silent_n siblings_n",
    20: "availability_daily: day ward_code kind expected_n received_n availability valid_n validity sla breach",
    21: "sensor_quality: device_id metric test share_3 share_4 stuck_since last_calibration",
    22: "gateway_latency: gateway_id p50_s p95_s p99_s future_ts_n late_n",
    23: "devices_to_service: device_id ward_code firmware battery_ratio battery_days_left rssi_dbm score reason",
    24: "ward_briefing: ward_code domain severity object_id title value threshold since_ts owner acknowledged_at",
    25: "ward_effectiveness: month ward_code alarms_n tta_p50_min ttc_p50_min false_share availability rank",
}
EVERY = {"ward_code", "ward_name", "as_of", "n", "coverage", "quality", "method"}


@pytest.mark.parametrize("number", QUESTIONS)
def test_question_is_a_view_with_its_columns(number):
    name, columns = QUESTIONS[number].split(": ")
    (view,) = [view for view in catalogue() if view.name in (name, f"ioc.{name}")]
    assert view.comment.startswith(f"Question {number}")
    assert (set(columns.split()) | EVERY) - {column.name for column in view.columns} == set()
