"""Rows to readings: what is skipped and under which reason, and that errors name file, line and column."""

from pathlib import Path

import pytest

from loadtest.payload import Reading
from loadtest.replay.mapping import DeviceRule, FileFormat, MapError, ReplayMap, RowFilter, TimeRule, ValueRule
from loadtest.replay.rows import RowTally, places, read_rows

TIME = TimeRule(column="when", zone="UTC")
LEVEL = ReplayMap(
    TIME,
    DeviceRule("wl-{name}", lat="lat", lon="lon"),
    (ValueRule("level", "water_level_m"),),
    missing=(-999, "", "NA"),
)
HEADER = "when,name,level,lat,lon\n"


def read(tmp_path: Path, text: str, replay_map: ReplayMap = LEVEL, **more: int) -> tuple[list[Reading], RowTally]:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    tally = RowTally()
    readings = list(read_rows(path, replay_map, tally, **more))
    assert tally.values == tally.rows * len(replay_map.values)
    assert tally.values == tally.readings + tally.skipped.total()
    return readings, tally


def test_a_row_becomes_a_reading_with_its_exact_number(tmp_path: Path) -> None:
    readings, _ = read(tmp_path, HEADER + "2020-01-01 00:00:00,Long Bien,0.1000000000000000055,,\n")
    assert readings == [Reading("wl-long-bien", "water_level_m", 1_577_836_800_000, 0.1)]


@pytest.mark.parametrize(
    ("level", "reason"),
    [
        ("", "missing value"),
        (" ", "missing value"),
        ("NA", "missing value"),
        ("-999", "sentinel -999"),
        ("-999.0", "sentinel -999"),
        ("n/a", "unparsable value"),
        ("nan", "unparsable value"),
        ("inf", "unparsable value"),
        ("1_000", "unparsable value"),
        ("1,5", "unparsable value"),
    ],
)
def test_what_is_no_value_is_skipped_by_reason(tmp_path: Path, level: str, reason: str) -> None:
    readings, tally = read(tmp_path, HEADER + f'2020-01-01,a,"{level}",,\n')
    assert not readings
    assert tally.skipped == {reason: 1}


def test_zero_and_slightly_negative_values_are_readings(tmp_path: Path) -> None:
    readings, _ = read(tmp_path, HEADER + "2020-01-01,a,0,,\n2020-01-02,a,-0.4,,\n")
    assert [reading.value for reading in readings] == [0.0, -0.4]


def test_the_first_fault_of_a_kind_is_shown_with_line_and_column(tmp_path: Path) -> None:
    _, tally = read(tmp_path, HEADER + "2020-01-01,a,1,,\nsoon,a,1,,\nlater,a,1,,\n2020-01-02,a,high,,\n")
    assert tally.examples == {
        "unparsable time": "line 3, `when`: unparsable time: 'soon'",
        "unparsable value": "line 5, column `level`: unparsable value 'high'",
    }


def test_a_row_that_is_cut_short_has_no_value(tmp_path: Path) -> None:
    readings, tally = read(tmp_path, HEADER + "2020-01-01,a\n")
    assert not readings
    assert tally.skipped == {"missing value": 1}


def test_a_row_without_device_is_skipped(tmp_path: Path) -> None:
    _, tally = read(tmp_path, HEADER + "2020-01-01,?,1,,\n")
    assert tally.skipped == {"no device": 1}


def test_filtered_rows_count_each_of_their_values(tmp_path: Path) -> None:
    replay_map = ReplayMap(
        TIME,
        DeviceRule("wl"),
        (ValueRule("level", "water_level_m"), ValueRule("lat", "temperature_cel")),
        filters=(RowFilter("name", keep=frozenset({"ok"})), RowFilter("lon", drop=frozenset({"bad"}))),
    )
    text = HEADER + "2020-01-01,ok,1,2,\n2020-01-02,no,1,2,\n2020-01-03,ok,1,2,bad\n"
    readings, tally = read(tmp_path, text, replay_map)
    assert len(readings) == 2
    assert tally.skipped == {"filtered": 4}


def test_a_value_may_belong_to_a_device_of_its_own(tmp_path: Path) -> None:
    replay_map = ReplayMap(
        TIME,
        DeviceRule("air-{name}"),
        (ValueRule("level", "temperature_cel"), ValueRule("lat", "rain_mm", device=DeviceRule("rain-{name}"))),
    )
    readings, _ = read(tmp_path, HEADER + "2020-01-01,x,20,3,\n", replay_map)
    assert [(reading.device_id, reading.metric) for reading in readings] == [
        ("air-x", "temperature_cel"),
        ("rain-x", "rain_mm"),
    ]


def test_limit_counts_rows(tmp_path: Path) -> None:
    _, tally = read(tmp_path, HEADER + "2020-01-01,a,1,,\n" * 5, limit=3)
    assert tally.rows == 3


@pytest.mark.parametrize(("text", "what"), [("", "is empty"), (HEADER, "no rows")])
def test_a_file_without_rows_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(MapError, match=what):
        read(tmp_path, text)


def test_a_missing_column_is_named_beside_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"rows\.csv, line 1: no column `level`.*the file has `when`"):
        read(tmp_path, "when,name,lat,lon\n")


def test_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes((HEADER + "2020-01-01,é,1,,\n").encode("latin-1"))
    with pytest.raises(MapError, match=r"file\.encoding"):
        list(read_rows(path, LEVEL, RowTally()))


def test_other_delimiters_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("\ufeffwhen;name;level;lat;lon\r\n2020-01-01;a;1;;\r\n".encode())
    semicolons = ReplayMap(TIME, LEVEL.device, LEVEL.values, file=FileFormat(delimiter=";"))
    assert len(list(read_rows(path, semicolons, RowTally()))) == 1


def test_places_are_what_the_rows_tell_of_a_device(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "2020-01-01,a,1,21.5,105.5\n2020-01-02,a,1,0,0\n2020-01-03,b,1,,\n", encoding="utf-8")
    found = places(path, LEVEL)
    assert (found["wl-a"].lat, found["wl-a"].lon) == (21.5, 105.5)
    assert found["wl-b"].lat is None
