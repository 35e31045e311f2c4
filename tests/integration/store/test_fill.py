"""A small city filled by loadtest.fill: every reading once, in its range; what is added later joins without a gap."""

import time

import pytest

from loadtest.fill.__main__ import Plan, fill
from loadtest.fill.stage import running_store

_PLAN = Plan(30_000, 1000, 1.0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with running_store(tmp_path_factory.mktemp("filled"), "store.rollup.enabled = false") as running:
        yield running


@pytest.fixture(scope="module")
def filled(stage, tmp_path_factory):
    now_s = int(time.time())
    kept = tmp_path_factory.mktemp("kept") / "filling.json"
    count = fill(stage, _PLAN, now_s - 600, kept=kept)
    # As if it had been broken off at its end.
    assert fill(stage, _PLAN, now_s - 600, kept=kept) == 0
    return stage, count, fill(stage, _PLAN, now_s, now_s - 600)


def _ask(stage, sql):
    connection = stage.connect("reader")
    try:
        return connection.ask(sql).split()
    finally:
        connection.close()


def test_fill_gives_as_many_readings_as_planned(filled):
    stage, count, added = filled
    assert count == pytest.approx(_PLAN.readings, rel=0.1)
    assert added > 0
    assert _ask(stage, "SELECT count() FROM cityfleet.readings FINAL") == [str(count + added)]


def test_filled_readings_are_of_known_devices_and_metrics_in_126_wards(filled):
    stage, *_ = filled
    sql = (
        "SELECT uniq(ward_code), countIf(device_id = ''), countIf(metric = ''), countIf(ward_name = '') FROM ioc.latest"
    )
    assert _ask(stage, sql) == ["126", "0", "0", "0"]


def test_filled_readings_are_in_their_range_unless_they_say_that_they_fail(filled):
    stage, *_ = filled
    sql = (
        "SELECT countIf(r.quality = 1 AND (r.value < m.min_value OR r.value > m.max_value)) FROM ioc.readings AS r "
        "INNER JOIN ioc.device_metrics AS m ON m.device_num = r.device_num AND m.metric = r.metric"
    )
    assert _ask(stage, sql) == ["0"]


def test_readings_that_are_added_join_without_a_gap(filled):
    stage, *_ = filled
    sql = (
        "SELECT uniqExact(arrayJoin(arrayPopFront(arrayDifference(times)))) FROM (SELECT device_num, metric_num, "
        "arraySort(groupArray(toUnixTimestamp(ts))) AS times FROM cityfleet.readings FINAL "
        "WHERE device_num IN (SELECT device_num FROM ioc.devices WHERE device_type = 'air-monitor') "
        "GROUP BY device_num, metric_num)"
    )
    assert _ask(stage, sql) == ["1"]


def test_latest_is_the_newest_reading_of_each(filled):
    stage, *_ = filled
    sql = (
        "SELECT count() FROM cityfleet.latest AS l FINAL INNER JOIN (SELECT device_num, metric_num, max(ts) AS newest "
        "FROM cityfleet.readings GROUP BY device_num, metric_num) AS r USING (device_num, metric_num) "
        "WHERE l.ts < r.newest"
    )
    assert _ask(stage, sql) == ["0"]
