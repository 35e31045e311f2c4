"""Files of steps are read strictly; windows hold every due cell in few rectangles."""

import re
from pathlib import Path

import pytest

from store.rollup import ledger, step
from store.rollup.step import StepError
from store.rollup.window import Cell, windows

SCHEMA = Path(step.__file__).parents[1] / "schema"
_HEAD = "-- target: cityfleet.x\n-- source: cityfleet.readings_1h\n-- bucket: 1 hour\n"
_BODY = "SELECT 1 WHERE ts >= {from:DateTime('UTC')} AND ts < {to:DateTime('UTC')}\n"


def test_a_file_says_when_it_is_due_and_where_its_rows_go() -> None:
    found = step.parse("x", _HEAD + "-- reach: 12 hours\n-- reach back: 10 minutes\n-- Why: a reason.\n" + _BODY)
    assert (found.target, found.sources, found.bucket_s) == ("cityfleet.x", ("cityfleet.readings_1h",), 3600)
    assert (found.reach_s, found.reach_back_s, found.is_live, found.by_devices) == (43_200, 600, False, False)
    assert "--" not in found.sql


@pytest.mark.parametrize(
    "text",
    [
        _BODY,
        _HEAD.replace("1 hour", "an hour") + _BODY,
        _HEAD + "-- reech: 1 hour\n" + _BODY,
        _HEAD + "SELECT 1\n",
        _HEAD + "-- by devices: yes\n" + _BODY,
        _HEAD + "-- metrics: rain_mm\n" + _BODY,
        _HEAD.replace("readings_1h", "readings") + _BODY,
        _HEAD + "SELECT 1;\n" + _BODY,
        _HEAD + "-- deletes: itself\nSELECT 1;\nSELECT 2;\n" + _BODY,
        _HEAD + "-- replaces: all\n" + _BODY,
    ],
)
def test_a_slip_in_a_file_is_refused(text: str) -> None:
    with pytest.raises(StepError, match="x"):
        step.parse("x", text)


def test_a_step_may_ask_first_whether_there_is_anything_to_do() -> None:
    found = step.parse("x", _HEAD + "-- deletes: itself\nSELECT 0;\n" + _BODY)
    assert (found.question, found.sql) == ("SELECT 0", _BODY.strip())


def test_a_step_that_looks_into_readings_of_some_devices_needs_them_too() -> None:
    needing = {one.name for one in step.load() if one.needs_readings}
    assert {"quality", "readings_10min", "alarm_periods", "street_floods"} <= needing
    assert not needing & {"readings_1h", "readings_1d", "rain_10min"}


def test_windows_of_a_step_that_looks_at_its_own_rows_depend_on_each_other() -> None:
    apart = {one.name for one in step.load() if one.is_by_windows}
    assert {"readings_10min", "readings_1h", "readings_1d", "vn_aqi_1h", "traffic_10min", "availability_1h"} <= apart
    assert not apart & {
        "quality",
        "alarm_gauges",
        "alarm_periods",
        "rain_now",
        "rain_10min",
        "device_first",
        "fleet_now",
    }


def test_a_step_on_a_table_that_no_step_before_it_fills_is_refused(tmp_path: Path) -> None:
    (tmp_path / "10_x.sql").write_text(_HEAD + _BODY)
    with pytest.raises(StepError, match="no step before it fills"):
        step.load(tmp_path)


def test_the_steps_that_come_with_cityfleet_are_well_formed() -> None:
    names = [one.name for one in step.load()]
    assert [name for name in names if name.startswith("readings_")] == [
        "readings_10min", "readings_1h", "readings_1d", "readings_today",
    ]  # fmt: skip


def test_days_begin_at_midnight_of_plus_seven() -> None:
    midnight = 1_767_200_400  # 2025-12-31T17:00:00Z
    assert step.floor(midnight, 86_400) == midnight
    assert step.floor(midnight - 1, 86_400) == midnight - 86_400
    assert step.floor(midnight + 3599, 3600) == midnight


def test_a_change_alters_the_buckets_that_it_reaches() -> None:
    hourly = step.parse("x", _HEAD + "-- reach: 2 hours\n-- reach back: 10 minutes\n" + _BODY)
    assert list(ledger.cells_of(hourly, 7200, 600)) == [3600, 7200, 10_800, 14_400]
    assert list(ledger.cells_of(hourly, 7800, 600)) == [7200, 10_800, 14_400]


def test_windows_hold_every_cell_once_and_the_newest_come_first() -> None:
    cells = [Cell(bucket * 600, block, 1000) for bucket in (0, 1, 5, 4000) for block in (0, 3, 255, 256, 700)]
    found = windows(cells, 600, max_rows=1_000_000, now_s=0)
    assert sorted((cell for window in found for cell in window.cells), key=str) == sorted(cells, key=str)
    assert [window.start for window in found] == [2_400_000] * 3 + [0] * 3
    for window in found:
        assert all(window.start <= cell.bucket < window.end for cell in window.cells)
        assert all(window.block_start <= cell.block < window.block_end for cell in window.cells)


def test_what_others_follow_from_has_the_column_of_time_that_bounds_its_windows() -> None:
    schema = "".join(file.read_text() for file in sorted(SCHEMA.glob("*.sql")))
    steps = step.load()
    for one in steps:
        if any(one.target in other.sources for other in steps):
            table = re.search(rf"CREATE TABLE IF NOT EXISTS {re.escape(one.target)} .*?ENGINE", schema, re.DOTALL)
            assert table is not None
            assert re.search(rf"^ +{one.time} ", table[0], re.MULTILINE), f"{one.name}: no column {one.time}"


def test_windows_are_cut_where_they_would_hold_too_many_rows() -> None:
    found = windows([Cell(bucket * 600, 0, 400) for bucket in range(10)], 600, max_rows=1000, now_s=6000)
    assert [len(window.cells) for window in found] == [2] * 5
    assert len(windows([Cell(0, 0, 5000)], 600, max_rows=1000, now_s=6000)) == 1


def test_of_a_backlog_few_devices_are_taken_over_a_long_time_after_the_newest_buckets() -> None:
    cells = [Cell(bucket * 600, block, 1000) for bucket in range(1006) for block in range(40)]
    found = windows(cells, 600, max_rows=4_000_000, now_s=1007 * 600)
    assert sorted((cell for window in found for cell in window.cells), key=str) == sorted(cells, key=str)
    newest, *old = found
    assert (newest.start, newest.end, newest.block_end) == (1000 * 600, 1006 * 600, 40)
    assert [(one.start, one.end, one.block_end - one.block_start) for one in old] == [(0, 600_000, 4)] * 10


def test_a_backlog_that_ended_long_ago_is_taken_by_devices_alone() -> None:
    cells = [Cell(bucket * 600, block, 1000) for bucket in range(1000) for block in range(40)]
    found = windows(cells, 600, max_rows=4_000_000, now_s=1020 * 600)
    assert sorted((cell for window in found for cell in window.cells), key=str) == sorted(cells, key=str)
    assert [(one.start, one.end, one.block_end - one.block_start) for one in found] == [(0, 600_000, 4)] * 10


def test_a_block_with_too_many_rows_is_cut_by_time() -> None:
    cells = [Cell(bucket * 600, block, 1000) for bucket in range(106) for block in (3, 4)]
    found = windows(cells, 600, max_rows=50_000, now_s=200 * 600)
    assert sorted((cell for window in found for cell in window.cells), key=str) == sorted(cells, key=str)
    assert max(len(window.cells) for window in found) == 50


def test_late_cells_far_apart_are_not_joined_with_all_that_lies_between() -> None:
    cells = [Cell(bucket * 600, bucket % 200, 1000) for bucket in range(0, 100_000, 1000)]
    found = windows(cells, 600, max_rows=4_000_000, now_s=100_000 * 600)
    assert sorted((cell for window in found for cell in window.cells), key=str) == sorted(cells, key=str)
    area = sum((one.end - one.start) // 600 * (one.block_end - one.block_start) for one in found)
    assert area < 250 * len(found)
