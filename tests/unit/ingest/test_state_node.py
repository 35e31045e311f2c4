"""The name of an ingest process at the registry: its own, and the same after every start."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ingest.settings import StateSettings
from ingest.state.node import node_name


def test_a_data_folder_is_one_node_with_a_name_for_each_worker(tmp_path):
    name = node_name(tmp_path / "a", 0, "")
    assert node_name(tmp_path / "a", 0, "") == name
    assert node_name(tmp_path / "a", 1, "") == name.removesuffix("0") + "1"
    assert node_name(tmp_path / "b", 0, "") != name
    assert len(name.encode()) <= 63


def test_workers_that_start_at_once_agree(tmp_path):
    with ThreadPoolExecutor(8) as workers:
        names = list(workers.map(lambda number: node_name(tmp_path, number, "").rpartition("/")[0], range(32)))
    assert len(set(names)) == 1
    assert [path.name for path in (tmp_path / "ingest").iterdir()] == ["node"]


def test_a_name_from_the_settings_counts_and_needs_no_folder(tmp_path):
    assert node_name(tmp_path / "nothing", 3, "hn-ingest-1") == "hn-ingest-1/3"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    "setting",
    [
        {"node": "n" * 51},
        {"node": "Hà Nội"},
        {"node": "a\nb"},
        {"report_interval_s": 0},
        {"report_interval_s": 21},
        {"progress_interval_s": -1},
        {"max_document_bytes": -1},
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        StateSettings(**setting)
