"""The generated city of the registry: as many as asked for, the same each time, fit for the import."""

import csv

import pytest

from loadtest.fleet.devices import GATEWAY
from loadtest.fleet.registered import COLUMNS, TYPES, RegisteredCity


@pytest.mark.parametrize("devices", [100, 1_000, 12_345])
def test_a_city_has_as_many_devices_as_asked_for_each_with_its_own_id(devices):
    city = RegisteredCity(devices)
    rows = list(city.rows())
    assert len({row.device_id for row in rows}) == devices
    assert len({row.token for row in rows}) == devices
    assert [row.device_id for row in rows] == [city.device_id(number) for number in range(devices)]


def test_a_million_devices_stand_at_12000_sites():
    city = RegisteredCity(1_000_000)
    assert city.sites == 12_000
    assert len({site.site_id for site in city.all_sites()}) == 12_000
    assert city.device_id(999_999)


def test_a_gateway_comes_before_the_devices_behind_it():
    gateways = set()
    for row in RegisteredCity(2_000).rows():
        assert not row.gateway or row.gateway in gateways
        if row.device_type == GATEWAY:
            gateways.add(row.device_id)


def test_every_type_and_ward_has_devices():
    rows = list(RegisteredCity(20_000).rows())
    assert {row.device_type for row in rows} == set(TYPES)
    assert len({row.ward_code for row in rows}) == 126


def test_a_city_is_the_same_each_time(tmp_path):
    RegisteredCity(500).write_csv(tmp_path / "one.csv")
    RegisteredCity(500).write_csv(tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with (tmp_path / "one.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    assert head == list(COLUMNS)
    assert {len(line) for line in lines} == {len(COLUMNS)}
