"""Files of reference data are checked line by line before anything is written."""

import csv
from datetime import date
from pathlib import Path

import pytest

from store import reference_data, retention
from store.reference_data import ReferenceError

_TYPES = {
    "station_id": "String",
    "name": "String",
    "level": "UInt8",
    "low": "Nullable(Float64)",
    "origin": "String",
    "version": "UInt64",
    "is_deleted": "UInt8",
}
_FOLDER = Path(reference_data.__file__).parent / "reference"
_SCHEMA = Path(reference_data.__file__).parent / "schema"


def test_columns_may_come_in_any_order() -> None:
    found = reference_data.parse("stations", "\ufeffname,station_id,low\nLong Biên,long-bien,\n\n", _TYPES)
    assert found == (["name", "station_id", "low"], [["Long Biên", "long-bien", ""]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("station_id,nam\nx,y\n", "no column 'nam'"),
        ("station_id,origin\nx,y\n", "no column 'origin'"),
        ("name\nx\n", "'station_id' is missing"),
        ("station_id,station_id\nx,y\n", "twice"),
        ("station_id\nx\nx\n", "line 3: x is there twice"),
        ("station_id,name\nx\n", "line 2: 1 values for 2 columns"),
        ("station_id,level\nx,300\n", "line 2, level: '300' is no UInt8"),
        ("station_id,level\nx,\n", "line 2, level"),
        ("station_id,low\nx,high\n", "line 2, low: 'high' is no Float64"),
        ("station_id,name\nx,a\\b\n", "backslash"),
        ("", "'station_id' is missing"),
    ],
)
def test_a_slip_in_a_file_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ReferenceError, match=said):
        reference_data.parse("stations", text, _TYPES)


def test_every_row_that_comes_with_cityfleet_names_its_source() -> None:
    for path in sorted(_FOLDER.glob("*.csv")):
        rows = list(csv.DictReader(path.open(encoding="utf-8")))
        assert rows
        for row in rows:
            assert path.stem == "stations" or row["source"], (path.name, row)
            assert "valid_from" not in row or row["valid_from"] < row["valid_to"], (path.name, row)


@pytest.mark.parametrize(
    ("partition", "end"),
    [
        ("202612", date(2027, 1, 1)),
        ("202602", date(2026, 3, 1)),
        ("2026-01-05", date(2026, 1, 12)),
        ("2026", date(2027, 1, 2)),
    ],
)
def test_a_partition_ends_after_its_last_day(partition: str, end: date) -> None:
    assert retention.end_of(partition) == end


def test_what_is_cut_by_time_ages() -> None:
    """Only what people did is kept for good."""
    made = "CREATE TABLE IF NOT EXISTS cityfleet."
    tables = [one for path in _SCHEMA.glob("*.sql") for one in path.read_text().split(made)[1:]]
    cut = {table.split()[0] for table in tables if "\nPARTITION BY" in table}
    assert cut - {"alarm_actions"} == retention.DAYS.keys()
