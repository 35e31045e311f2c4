"""Rows of devices from CSV and NDJSON: what is read, and what is refused before it is sent."""

import io

import pytest

from cli.errors import CommandError
from cli.import_file import RowError, read_rows


def rows(text, kind=""):
    return list(read_rows(io.StringIO(text, newline=""), kind))


def test_csv_and_ndjson_say_the_same():
    table = rows(
        "device_id,device_type,site,latitude,longitude,labels.owner,token\n"
        'wl-1,gauge,"A, B",21.0287,105.8525,tnmt,0123456789abcdef\n'
    )
    lines = rows(
        '{"device_id":"wl-1","device_type":"gauge","site":"A, B","latitude":21.0287,"longitude":105.8525,'
        '"labels":{"owner":"tnmt"},"token":"0123456789abcdef"}\n'
    )
    assert table == lines
    assert table[0].row == 1
    assert table[0].device.name == "devices/wl-1"
    assert table[0].device.labels == {"owner": "tnmt"}


def test_empty_cells_are_left_out_and_empty_lines_skipped():
    (row,) = rows("device_id,device_type,latitude,labels.owner,ward_code\n\nwl-1,gauge,,,\n  \n,,,,\n")
    assert not row.device.HasField("latitude")
    assert not row.device.labels
    assert row.device.ward_code == ""


@pytest.mark.parametrize(
    "head", ["device_id,colour,device_type", "device_id,labels.,device_type", "device_type", "device_id,device_id"]
)
def test_a_head_that_cannot_be_understood_ends_the_command(head):
    with pytest.raises(CommandError):
        rows(f"{head}\nx,y,z\n", "csv")


@pytest.mark.parametrize("text", ["", "\n", "   \n"])
def test_an_empty_file_ends_the_command(text):
    with pytest.raises(CommandError, match="empty"):
        rows(text)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        ("a,gauge", "CELLS_MISCOUNTED", ""),
        ("a,gauge,1,2,3,4", "CELLS_MISCOUNTED", ""),
        ("a,gauge,north,1,x", "NOT_A_NUMBER", "latitude"),
        ('a,gauge,"1,2', "ROW_NOT_CSV", ""),
        ("a,gauge,1,1,\udcff", "NOT_UTF8", ""),
    ],
)
def test_bad_csv_rows_are_refused_one_by_one(line, reason, field):
    found = rows(f"device_id,device_type,latitude,longitude,site\nb,gauge,1,1,x\n{line}\n")
    assert found[0].device.name == "devices/b"
    assert isinstance(found[1], RowError)
    assert (found[1].row, found[1].reason, found[1].field) == (2, reason, field)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        ('{"device_id":"a"', "ROW_NOT_JSON", ""),
        ("[]", "FIELD_INVALID", ""),
        ('{"device_id":"a"}', "FIELD_INVALID", ""),
        ('{"device_id":"a","device_type":"g","ward_code":70}', "FIELD_INVALID", "ward_code"),
        ('{"device_id":"a","device_type":"g","colour":"red"}', "FIELD_INVALID", ""),
        ('{"device_id":"a","device_type":"g","labels":{"a":1}}', "FIELD_INVALID", "labels[...]"),
        ('{"device_id":"\udcff","device_type":"g"}', "ROW_NOT_JSON", ""),
    ],
)
def test_bad_ndjson_rows_are_refused_one_by_one(line, reason, field):
    found = rows(f'{{"device_id":"b","device_type":"gauge"}}\n{line}\n{{"device_id":"c","device_type":"gauge"}}\n')
    assert [getattr(row, "row", None) for row in found] == [1, 2, 3]
    assert isinstance(found[1], RowError)
    assert (found[1].reason, found[1].field) == (reason, field)
