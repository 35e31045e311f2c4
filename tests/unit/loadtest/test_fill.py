"""The plan of a filled city: as many readings as asked for, devices numbered without gaps, slices that cover all."""

import argparse
import json
from itertools import pairwise

import pytest

from loadtest.fill.__main__ import Plan, add_arguments, is_open_only, plan_of
from loadtest.fill.kinds import KINDS, METRICS
from loadtest.fill.plan import LONG_DAYS, groups, slices
from registry.devices.catalogue import STARTER_METRICS

_DAY_S = 86_400
_UNTIL_S = 1_790_000_000


def _total(made):
    return sum(group.readings(group.days * _DAY_S) for group in made)


@pytest.mark.parametrize(
    ("readings", "devices", "days"),
    [(10**9, 100_000, 5), (10**7, 100_000, 5), (10**6, 1000, 2), (5 * 10**9, 100_000, 5)],
)
def test_plan_comes_to_the_readings_that_are_asked_for(readings, devices, days):
    assert _total(groups(readings, devices, days)) == pytest.approx(readings, rel=0.02)


def test_river_gauges_of_a_billion_go_back_a_month():
    made = {group.kind.device_type: group for group in groups(10**9, 100_000, 5)}
    assert made["gauge-river"].days == made["air-station"].days == LONG_DAYS
    assert made["traffic-counter"].interval_s <= 120


def test_devices_are_numbered_from_one_without_a_gap():
    following = 1
    for group in groups(10**6, 1000, 1):
        assert group.first == following
        following += group.count
    assert following == 1001


def test_slices_hold_every_device_once():
    made = groups(10**9, 100_000, 5)
    held = sorted((part.first, part.first + part.count) for part in slices(made, _UNTIL_S))
    assert held[0][0] == 1
    assert held[-1][1] == 100_001
    assert all(before[1] == after[0] for before, after in pairwise(held))


def test_slices_of_what_came_since_begin_where_the_last_ended():
    made = groups(10**6, 1000, 1)
    assert {(part.from_s, part.to_s) for part in slices(made, _UNTIL_S, _UNTIL_S - 60)} == {(_UNTIL_S - 60, _UNTIL_S)}


@pytest.mark.parametrize("asked", [(0, 1000, 1), (1000, 999, 1), (1000, 1000, 0)])
def test_plan_of_nothing_is_refused(asked):
    with pytest.raises(ValueError, match="needed"):
        groups(*asked)


def test_kinds_are_shares_of_a_thousand():
    assert sum(kind.share for kind in KINDS) == 1000


def test_rollups_are_done_when_only_open_windows_are_due():
    now_s = 1_790_000_000.0
    blocks = [{"step": "readings_10min", "due": 4, "oldest_due": "2026-09-21T14:10:00Z"}]
    assert is_open_only(blocks, 1000, now_s)
    assert not is_open_only([{**blocks[0], "due": 500}], 1000, now_s)
    assert not is_open_only([*blocks, {"step": "rain_1h", "due": 3, "oldest_due": "2026-09-18T14:00:00Z"}], 1000, now_s)
    assert is_open_only([{"step": "rain_1h", "due": 0, "oldest_due": ""}], 1000, now_s)


def test_metrics_have_the_numbers_and_units_that_the_registry_gives_them():
    numbered = {name: number for number, (name, _, _) in enumerate(STARTER_METRICS, 1)}
    assert numbered == METRICS
    units = {name: unit for name, unit, _ in STARTER_METRICS}
    assert all(one.unit == units[one.metric] for kind in KINDS for one in kind.measured)


def _options(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


def test_without_a_number_a_filled_folder_is_taken_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("READINGS", raising=False)
    (tmp_path / "filled.json").write_text(json.dumps([123_000, 2000, 3.0, 1_790_000_000]))
    assert plan_of(_options(), tmp_path) == Plan(123_000, 2000, 3.0)
    assert capsys.readouterr().err == ""


def test_without_a_number_a_new_folder_gets_ten_million_and_it_is_said_first(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("READINGS", raising=False)
    assert plan_of(_options(), tmp_path / "new").readings == 10_000_000
    assert "10,000,000 readings of 10,000 devices" in capsys.readouterr().err


def test_more_than_the_disk_holds_is_refused_before_it_begins(tmp_path):
    with pytest.raises(ValueError, match="GB are needed"):
        plan_of(_options("--readings", "10000000000000000"), tmp_path)
