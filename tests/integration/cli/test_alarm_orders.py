"""`cityfleet alarm order`: an order is in force for its wards from the moment it is declared until it is withdrawn."""

import json
from collections.abc import Iterator

import pytest

from tests.support.city_rollups import add_wards, compute_now
from tests.support.cli import cityfleet
from tests.support.store import StoreHandle, running_store

ALARMS = (
    "SELECT ward_code, river, bd_level, declared, order_ref, measured_level FROM ioc.ward_alarms_now "
    "ORDER BY river, ward_code"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("orders")) as running:
        add_wards(running, {"10045": "Xuân Mai", "00070": "Hoàn Kiếm"})
        compute_now(running, ("ward_alarms_now",))
        yield running


def order(store: StoreHandle, *arguments: str) -> tuple[int, str, str]:
    done = cityfleet(store.data_dir, "alarm", "order", *arguments, CITYFLEET_STORE__LISTEN__PORT="0")
    return done.returncode, done.stdout, done.stderr


def test_an_order_for_a_river_is_for_its_wards_until_it_is_withdrawn(store: StoreHandle) -> None:
    code, out, err = order(
        store, "declare", "15/LĐ-BCH", "--river", "Cầu", "--level", "2", "--source", "bản tin", "-o", "json"
    )
    assert code == 0, err
    assert json.loads(out)[0]["ward_code"] == ""
    assert store.rows(ALARMS) == [
        ["00385", "Cầu", "2", "true", "15/LĐ-BCH", "0"], ["00430", "Cầu", "2", "true", "15/LĐ-BCH", "0"],
    ]  # fmt: skip
    # The same order again corrects it.
    assert order(store, "declare", "15/LĐ-BCH", "--river", "Cầu", "--level", "1")[0] == 0
    assert {row[2] for row in store.rows(ALARMS)} == {"1"}
    assert order(store, "withdraw", "15/LĐ-BCH")[0] == 0
    assert store.rows(ALARMS) == []
    assert order(store, "withdraw", "15/LĐ-BCH")[0] == 3
    assert order(store, "list", "-o", "name")[1] == ""
    assert order(store, "list", "--all", "-o", "name")[1] == "15/LĐ-BCH\n"


def test_an_order_for_wards_is_for_these_only(store: StoreHandle) -> None:
    issued = "2025-10-07T06:30+07:00"
    wards = ("--ward", "10045", "--ward", "00070")
    assert order(store, "declare", "16", "--river", "Bùi", "--level", "3", *wards, "--issued", issued)[0] == 0
    found = [row for row in store.rows(ALARMS) if row[1] == "Bùi"]
    assert [row[0] for row in found] == ["00070", "10045"]
    since = store.rows("SELECT DISTINCT since_ts FROM ioc.ward_alarms_now WHERE order_ref = '16'")
    assert since == [["2025-10-06 23:30:00.000"]]
    assert order(store, "withdraw", "16", "--ward", "00070")[0] == 0
    assert [row[0] for row in store.rows(ALARMS) if row[1] == "Bùi"] == ["10045"]


def test_what_is_not_known_is_refused(store: StoreHandle) -> None:
    code, _, err = order(store, "declare", "17", "--river", "Mekong", "--level", "1")
    assert code == 3
    assert "Cầu" in err
    code, _, err = order(store, "declare", "17", "--river", "Hồng", "--level", "1", "--ward", "99999")
    assert code == 3
    assert "99999" in err
    assert order(store, "declare", "17", "--river", "Hồng", "--level", "4")[0] == 2
    assert order(store, "declare", "17", "--river", "Bùi", "--level", "1", "--issued", "2025-10-07T06:30")[0] == 2
