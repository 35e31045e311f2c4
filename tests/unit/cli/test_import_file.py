"""Rows of devices from CSV and NDJSON: what is read, and what is refused before it is sent."""

import io
import itertools
import tracemalloc

import msgspec
import pytest

from cli.errors import CommandError
from cli.import_file import FileRows, RowError


def rows(text, kind=""):
    return list(FileRows(io.BytesIO(text.encode("utf-8", "surrogateescape")), kind))


def test_csv_and_ndjson_say_the_same():
    table = rows(
        "device_id,device_type,site,latitude,longitude,labels.owner,token\n"
        'wl-1,gauge,"A, B",21.0287,105.8525,tnmt,0123456789abcdef\n'
    )
    lines = rows(
        '{"device_id":"wl-1","device_type":"gauge","site":"A, B","latitude":21.0287,"longitude":105.8525,'
        '"labels":{"owner":"tnmt"},"token":"0123456789abcdef"}\n'
    )
    assert table[0].resource == lines[0].resource
    assert table[0].resource == {
        "name": "devices/wl-1",
        "device_type": "gauge",
        "site": "A, B",
        "latitude": 21.0287,
        "longitude": 105.8525,
        "labels": {"owner": "tnmt"},
    }
    assert [(row.row, row.token) for row in (*table, *lines)] == [(1, "0123456789abcdef")] * 2


def test_empty_cells_are_left_out_and_empty_lines_skipped():
    (row,) = rows("device_id,device_type,latitude,labels.owner,ward_code\n\nwl-1,gauge,,,\n  \n,,,,\n")
    assert row.resource == {"name": "devices/wl-1", "device_type": "gauge"}


def test_a_row_says_which_fields_it_speaks_of():
    (row,) = rows("device_id,device_type,labels.owner,site,token,state\nwl-1,gauge,,,,ACTIVE\n")
    assert row.fields == ("device_type", "labels.owner", "site")
    (row,) = rows('{"device_id":"wl-1","device_type":"gauge","site":"","device_num":7}\n')
    assert row.fields == ("device_type", "site")


def test_labels_come_as_one_column_too():
    (row,) = rows('device_id,device_type,labels\nwl-1,gauge,"{""owner"":""tnmt""}"\n')
    assert row.resource["labels"] == {"owner": "tnmt"}


def test_a_quote_that_is_not_closed_costs_one_row():
    text = 'device_id,device_type,site\na,gauge,x\nb,gauge,"open\nc,gauge,x\nd,gauge,"two\nlines"\ne,gauge,x\n'
    found = rows(text)
    assert [(row.row, row.resource_id) for row in found if not isinstance(row, RowError)] == [
        (1, "a"),
        (3, "c"),
        (4, "d"),
        (5, "e"),
    ]
    assert [(row.row, row.reason) for row in found if isinstance(row, RowError)] == [(2, "ROW_NOT_CSV")]


def test_a_quote_that_is_never_closed_takes_no_row_with_it():
    lines = "".join(f"d-{at},gauge,x\n" for at in range(200))
    found = rows(f'device_id,device_type,site\nb,gauge,"open\n{lines}')
    assert sum(isinstance(row, RowError) for row in found) == 1
    assert len(found) == 201


def test_a_line_without_end_is_skipped():
    found = rows(f"device_id,device_type,site\na,gauge,{'x' * 3_000_000}\nb,gauge,x\n")
    assert isinstance(found[0], RowError)
    assert found[0].reason == "ROW_TOO_LONG"
    assert found[1].resource_id == "b"


def test_utf_16_is_named():
    with pytest.raises(CommandError, match="UTF-16"):
        FileRows(io.BytesIO("device_id,device_type\na,gauge\n".encode("utf-16")), "csv")


def test_a_byte_order_mark_is_no_part_of_the_head():
    (row,) = FileRows(io.BytesIO("\ufeffdevice_id,device_type\na,gauge\n".encode()), "csv")
    assert row.resource_id == "a"


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_reading_goes_on_where_it_stopped(kind):
    lines = {
        "csv": "device_id,device_type,site\n" + "".join(f'd-{at},gauge,"a\nb"\n\n' for at in range(20)),
        "ndjson": "".join(f'{{"device_id":"d-{at}","device_type":"gauge"}}\n' for at in range(20)),
    }
    raw = lines[kind].encode()
    first = FileRows(io.BytesIO(raw), kind)
    seen = list(itertools.islice(first, 7))
    place = first.position()
    assert place.row == 7
    second = FileRows(io.BytesIO(raw), kind)
    assert second.skip_to(place)
    assert [row.row for row in (*seen, *second)] == list(range(1, 21))
    assert not FileRows(io.BytesIO(raw.replace(b"d-3", b"d_3")), kind).skip_to(place)
    assert not FileRows(io.BytesIO(raw[:-200]), kind).skip_to(msgspec.structs.replace(place, offset=len(raw)))


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
    assert found[0].resource_id == "b"
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
        ('{"device_id":"\udcff","device_type":"g"}', "NOT_UTF8", ""),
    ],
)
def test_bad_ndjson_rows_are_refused_one_by_one(line, reason, field):
    found = rows(f'{{"device_id":"b","device_type":"gauge"}}\n{line}\n{{"device_id":"c","device_type":"gauge"}}\n')
    assert [getattr(row, "row", None) for row in found] == [1, 2, 3]
    assert isinstance(found[1], RowError)
    assert (found[1].reason, found[1].field) == (reason, field)


def test_a_file_of_any_size_is_read_in_little_memory(tmp_path):
    """Almost all of it is a hole, which reads as one line without an end."""
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.write(b"device_id,device_type\na,gauge\n")
        file.seek(256 << 20, io.SEEK_CUR)
        file.write(b"\nb,gauge\n")
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            found = [row.resource_id or row.reason for row in FileRows(file, "csv")]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == ["a", "ROW_TOO_LONG", "b"]
    assert peak_bytes < 16 << 20


def test_ten_gigabytes_without_a_line_are_refused_unread(tmp_path):
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with path.open("rb") as file:
        with pytest.raises(CommandError, match="more than a million bytes"):
            FileRows(file, "csv")
        assert file.tell() < 4 << 20
