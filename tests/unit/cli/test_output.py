"""Every output format: what it prints, that it takes rows as they come, that machines can read it back."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cli.output import TABLE_SAMPLE, OutputFormat, show, show_one

ROWS: list[dict[str, Any]] = [
    {"id": "a", "size": 1.5, "labels": {"k": "v", "b": "c"}, "on": True, "more": None},
    {"id": "cầu", "size": 2.25, "labels": {}, "on": False, "more": "x,y"},
]


def printed(capsys: pytest.CaptureFixture[str], output: OutputFormat, rows: Any = ROWS, **options: Any) -> str:
    show(rows, ("id", "size"), output, name="id", **options)
    return capsys.readouterr().out


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []], ids=["two", "one", "none"])
def test_documents_read_back_as_what_they_were(capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]]) -> None:
    assert json.loads(printed(capsys, OutputFormat.JSON, rows)) == rows
    assert yaml.safe_load(printed(capsys, OutputFormat.YAML, rows)) == rows
    assert [json.loads(line) for line in printed(capsys, OutputFormat.NDJSON, rows).splitlines()] == rows


def test_csv_has_its_own_columns_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys, OutputFormat.CSV, csv_columns=("id", "on", "labels", "more"))
    first, second = csv.DictReader(io.StringIO(out))
    assert first == {"id": "a", "on": "true", "labels": "b=c,k=v", "more": ""}
    assert second["more"] == "x,y"


def test_wide_shows_more_than_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert "b=c,k=v" not in printed(capsys, OutputFormat.TABLE, wide=("labels",))
    assert "b=c,k=v" in printed(capsys, OutputFormat.WIDE, wide=("labels",))


def test_names_are_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, OutputFormat.NAME) == "a\ncầu\n"


def test_one_thing_is_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    show_one(ROWS[0], ("id",), OutputFormat.JSON, name="id")
    assert json.loads(capsys.readouterr().out) == ROWS[0]


@pytest.mark.parametrize("output", list(OutputFormat))
def test_rows_are_printed_as_they_come(capsys: pytest.CaptureFixture[str], output: OutputFormat) -> None:
    """Behind the sample of a table none is held back."""
    seen = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal seen
        for number in range(TABLE_SAMPLE + 20):
            yield {"id": f"row-{number}", "size": 1.0}
            if number > TABLE_SAMPLE + 2:
                seen += f"row-{number}" in capsys.readouterr().out

    show(rows(), ("id", "size"), output, name="id")
    assert seen == 17


def test_a_long_table_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    rows = ({"id": f"d{number:06}", "size": float(number % 7)} for number in range(TABLE_SAMPLE * 3))
    lines = printed(capsys, OutputFormat.TABLE, rows).splitlines()
    assert len(lines) == TABLE_SAMPLE * 3 + 1
    assert {line.index("  ") for line in lines[1:]} == {7}
