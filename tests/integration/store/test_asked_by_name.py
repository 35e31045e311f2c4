"""Questions by name through the command on a real store, and every example of the dictionary."""

import io
import json
import subprocess
from pathlib import Path

import pyarrow.ipc
import pyarrow.parquet
import pytest

from store.catalogue import View, catalogue
from tests.support.cli import cityfleet
from tests.support.store import StoreHandle


def _query(store: StoreHandle, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return cityfleet(store.data_dir, "query", *arguments, CITYFLEET_STORE__LISTEN__PORT="0")


@pytest.mark.parametrize("view", catalogue(), ids=lambda view: view.name)
def test_every_example_runs(store: StoreHandle, view: View) -> None:
    store.query(f"{view.example[1]} FORMAT Null")


@pytest.mark.parametrize("view", [view for view in catalogue() if not view.parameters], ids=lambda view: view.name)
def test_columns_are_what_the_dictionary_says(store: StoreHandle, view: View) -> None:
    asked = f"SELECT name, comment FROM system.columns WHERE database = 'ioc' AND table = '{view.name}'"
    found = store.query(f"{asked} ORDER BY position FORMAT JSONCompactEachRow")
    assert [json.loads(line) for line in found.splitlines()] == [[c.name, c.comment] for c in view.columns]


def test_a_question_is_answered_by_its_name(store: StoreHandle) -> None:
    answer = _query(store, "ward_vn_aqi_daily", "--from", "2d", "--ward", "00025", "-o", "csv")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith('"ward_code","day","vn_aqi_d"')


def test_files_of_columns_are_whole(store: StoreHandle, tmp_path: Path) -> None:
    count = int(store.query("SELECT count() FROM ioc.quality_reasons"))
    assert count
    for kind in ("parquet", "arrow"):
        file = tmp_path / f"reasons.{kind}"
        answer = _query(store, "quality_reasons", "-o", kind, "--file", str(file))
        assert answer.returncode == 0, answer.stderr
        if kind == "parquet":
            table = pyarrow.parquet.read_table(file)
        else:
            table = pyarrow.ipc.open_file(io.BytesIO(file.read_bytes())).read_all()
        assert table.num_rows == count
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reasons.arrow", "reasons.parquet"]


def test_a_refused_question_leaves_no_file(store: StoreHandle, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    answer = _query(store, "SELECT * FROM ioc.nothing", "-o", "csv", "--file", str(file))
    assert answer.returncode == 1
    assert "nothing" in answer.stderr
    assert not list(tmp_path.iterdir())


def test_the_list_and_a_description_need_no_store(tmp_path: Path) -> None:
    listed = cityfleet(tmp_path, "query", "--list")
    assert "river_levels_now" in listed.stdout
    told = cityfleet(tmp_path, "query", "ward_vn_aqi_daily", "--describe")
    assert "Decision 1459/QD-TCMT" in told.stdout
    assert "Parameters: from" in told.stdout
    wrong = cityfleet(tmp_path, "query", "ward_vn_aqi_day")
    assert wrong.returncode == 3
    assert "did you mean ward_vn_aqi_daily" in wrong.stderr
