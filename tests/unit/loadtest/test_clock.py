"""Recorded stamps: zones, clocks set back and forward, hours that other zones' clocks left out."""

from datetime import UTC, datetime

import pytest

from loadtest.replay.clock import SkippedStampError, stamp_reader
from loadtest.replay.mapping import TimeRule


def utc(rule: TimeRule, **row: str) -> str:
    return datetime.fromtimestamp(stamp_reader(rule)(row) / 1000, UTC).isoformat()


def test_hanoi_is_seven_hours_ahead_all_year() -> None:
    rule = TimeRule(column="t", format="%Y-%m-%d %I:%M %p", zone="Asia/Ho_Chi_Minh")
    assert utc(rule, t="2016-01-01 01:00 AM") == "2015-12-31T18:00:00+00:00"
    assert utc(rule, t="2016-07-01 12:00 AM") == "2016-06-30T17:00:00+00:00"
    # The hour that the United States leave out exists in Hanoi.
    assert utc(rule, t="2016-03-13 02:00 AM") == "2016-03-12T19:00:00+00:00"


def test_new_york_follows_its_summer_time() -> None:
    rule = TimeRule(column="t", zone="America/New_York")
    assert utc(rule, t="2023-09-29 12:58:44") == "2023-09-29T16:58:44+00:00"
    assert utc(rule, t="2023-12-29 12:58:44") == "2023-12-29T17:58:44+00:00"


@pytest.mark.parametrize(("choice", "expected"), [("earlier", "05:30"), ("later", "06:30")])
def test_a_stamp_that_came_twice_goes_where_the_map_says(choice: str, expected: str) -> None:
    rule = TimeRule(column="t", zone="America/New_York", ambiguous=choice)  # type: ignore[arg-type]
    assert utc(rule, t="2023-11-05 01:30:00") == f"2023-11-05T{expected}:00+00:00"


def test_a_stamp_that_never_came_moves_behind_the_gap() -> None:
    rule = TimeRule(column="t", zone="America/New_York")
    assert utc(rule, t="2023-03-12 02:30:00") == "2023-03-12T07:30:00+00:00"  # 03:30 EDT


@pytest.mark.parametrize(
    ("stamp", "reason"), [("2023-11-05 01:30", "ambiguous time"), ("2023-03-12 02:30", "nonexistent time")]
)
def test_doubtful_stamps_are_skipped_by_reason_if_the_map_says_so(stamp: str, reason: str) -> None:
    rule = TimeRule(column="t", zone="America/New_York", ambiguous="skip", nonexistent="skip")
    with pytest.raises(SkippedStampError, match=reason):
        stamp_reader(rule)({"t": stamp})


def test_calendar_columns_may_stop_at_the_hour() -> None:
    rule = TimeRule(columns=("y", "m", "d", "h"), zone="Asia/Shanghai")
    assert utc(rule, y="2016", m="7", d="20", h="0") == "2016-07-19T16:00:00+00:00"


def test_an_offset_in_the_stamp_wins_over_the_zone() -> None:
    assert utc(TimeRule(column="t", zone="Asia/Shanghai"), t="2018-09-05T21:00:00Z") == "2018-09-05T21:00:00+00:00"


def test_unix_stamps_keep_their_milliseconds() -> None:
    assert stamp_reader(TimeRule(column="t", format="unix_s"))({"t": "1536181200"}) == 1_536_181_200_000
    assert stamp_reader(TimeRule(column="t", format="unix_s"))({"t": "1536181200.25"}) == 1_536_181_200_250
    assert stamp_reader(TimeRule(column="t", format="unix_ms"))({"t": "1536181200001"}) == 1_536_181_200_001


@pytest.mark.parametrize("text", ["", "yesterday", "2016-13-01 00:00", "2016-01-01 24:30"])
def test_what_is_no_time_is_skipped(text: str) -> None:
    with pytest.raises(SkippedStampError, match="unparsable time"):
        stamp_reader(TimeRule(column="t", zone="UTC"))({"t": text})


def test_a_naive_stamp_without_zone_is_skipped() -> None:
    with pytest.raises(SkippedStampError, match="without a zone"):
        stamp_reader(TimeRule(column="t"))({"t": "2016-01-01 00:00"})
