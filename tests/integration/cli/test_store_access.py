"""`cityfleet store access`: accounts of wards are made, listed, renewed and removed; what has no rule is named."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.cli import cityfleet
from tests.support.store import QueryError, StoreHandle, running_store
from tests.support.wards import Ward


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("access")) as running:
        running.query("INSERT INTO cityfleet.wards VALUES ('00070', 'Hoàn Kiếm', 'ward', '01', 1)", "writer")
        running.query("INSERT INTO cityfleet.wards VALUES ('00004', 'Ba Đình', 'ward', '01', 1)", "writer")
        yield running


def access(store: StoreHandle, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return cityfleet(store.data_dir, "store", "access", *arguments, CITYFLEET_STORE__LISTEN__PORT="0")


def test_every_ward_gets_an_account_once(store: StoreHandle) -> None:
    assert "-- new account ward_00070" in access(store, "apply", "--dry-run").stdout
    assert access(store, "list", "-o", "name").stdout == ""
    done = access(store, "apply")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 accounts, 2 of them new")
    passwords = store.data_dir / "secrets" / "store-wards.csv"
    assert passwords.stat().st_mode & 0o077 == 0
    rows = [line.split(",") for line in passwords.read_text().splitlines()]
    assert [row[:2] for row in rows] == [["ward_00004", "00004"], ["ward_00070", "00070"]]
    assert Ward(store, "ward_00070", rows[1][2]).query("SELECT count() FROM ioc.latest").strip() == "0"
    assert access(store, "apply").stdout.startswith("2 accounts, 0 of them new")
    assert json.loads(access(store, "list", "-o", "json").stdout)[0] == {"user": "ward_00004", "wards": "00004"}


def test_an_account_is_added_renewed_and_removed(store: StoreHandle) -> None:
    first = access(store, "add", "inner", "--ward", "00070", "--ward", "00004").stdout.strip()
    assert Ward(store, "inner", first).query("SELECT 1") == "1\n"
    assert access(store, "add", "inner", "--ward", "00070").returncode == 1
    second = access(store, "password", "inner").stdout.strip()
    assert Ward(store, "inner", second).query("SELECT 1") == "1\n"
    with pytest.raises(QueryError):
        Ward(store, "inner", first).query("SELECT 1")
    assert access(store, "remove", "inner").returncode == 0
    with pytest.raises(QueryError):
        Ward(store, "inner", second).query("SELECT 1")
    for arguments in (("remove", "inner"), ("password", "inner"), ("add", "reader", "--ward", "00070"),
                      ("add", "Inner", "--ward", "00070"), ("add", "inner", "--ward", "7")):  # fmt: skip
        assert access(store, *arguments).returncode == 1


def test_check_names_what_has_no_rule(store: StoreHandle) -> None:
    done = access(store, "check", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    store.query("CREATE TABLE cityfleet.stray (a Int8) ENGINE = Memory", "admin")
    done = access(store, "check", "-o", "json")
    assert done.returncode == 1
    assert [row["name"] for row in json.loads(done.stdout)] == ["cityfleet.stray"]
