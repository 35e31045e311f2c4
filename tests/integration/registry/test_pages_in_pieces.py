"""Pages that end when their time is over: piece by piece they hold what one whole page holds, on both databases."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import insert

from registry.db import device_pages
from registry.db.engine import Database, sqlite_url
from registry.db.schema import device_labels, device_state, devices, group_members, groups, sites, unheard_devices
from registry.devices import catalogue
from registry.devices.model import TypeSpec
from registry.devices.selection import selected
from registry.errors import InvalidError
from registry.filter.fields import DEVICES
from registry.filter.order import order_of

NOW_MS = 1_800_000_000_000
NUMBERS = [*range(1, 24), *range(45, 64), 99]
TYPES = ["gateway", "gauge", "rain"]


@pytest.fixture
async def database(new_database, tmp_path) -> AsyncIterator[Database]:
    path = tmp_path / "registry.db"
    opened = Database(new_database().get("CITYFLEET_REGISTRY__DATABASE_URL") or sqlite_url(path))
    await opened.open()
    for kind in TYPES:
        spec = TypeSpec(kind, is_gateway=kind == "gateway", expected_interval_s=60 if kind == "gauge" else 0)
        await opened.write(catalogue.apply_type, spec, "")
    await opened.write(_fill)
    yield opened
    opened.close()


def _fill(connection) -> None:
    """Devices with numbers that have gaps, and with every field repeated, absent or empty somewhere."""
    connection.execute(
        insert(sites),
        [
            {
                **dict.fromkeys(("display_name", "ward_code"), ""),
                "site_num": at,
                "site_id": f"s-{9 - at}",
                "kind": "pole",
                "is_ward_derived": False,
                "labels": "{}",
                "revision": 1000 + at,
                "create_time_ms": 0,
                "update_time_ms": 0,
            }
            for at in range(1, 5)
        ],
    )
    connection.execute(
        insert(devices),
        [
            {
                "device_num": num,
                "device_id": f"{'dđD'[num % 3]}-{num * 7 % 100:02}",
                "type_num": 1 + num * num % 3,
                "gateway_num": 3 if num % 5 == 0 else 0,
                "display_name": ["", "Cầu", "cầu", "Zoo"][num % 4],
                "site_num": num % 5,
                "ward_code": ["00070", "", "00004"][num // 11 % 3],
                "is_ward_derived": False,
                "site": "",
                "latitude": 21.0 + num * 0.001 if num % 6 else None,
                "longitude": 105.8 if num % 6 else None,
                "is_place_derived": False,
                "placed_time_ms": 0,
                "hardware_revision": "",
                "labels": "{}",
                "external_id": f"E{num % 50}x{num}" if num % 4 == 1 else None,
                "state": 3 if num % 13 == 0 else 1 + num % 2,
                "revision": 2000 + num,
                "create_time_ms": NOW_MS - num // 4,
                "update_time_ms": NOW_MS - num * 17 % 10 * 1000,
            }
            for num in NUMBERS
        ],
    )
    owners = [(num, ["", "evn", "tnmt", "EVN"][num % 4]) for num in NUMBERS if num % 3]
    connection.execute(
        insert(device_labels), [{"device_num": num, "key": "owner", "value": value} for num, value in owners]
    )
    connection.execute(
        insert(device_state),
        [
            {
                "device_num": num,
                "type_num": 1 + num * num % 3,
                "is_connected": num % 7 == 0,
                "disconnect_reason": "",
                "node": "",
                "last_seen_ms": NOW_MS - num % 4 * 400_000,
                "last_reading_ms": NOW_MS - num % 5 * 90_000 if num % 9 else None,
                "firmware_version": ["", "2.4.0", "2.10"][num % 3],
                "config_version": num % 2,
                "hardware_revision": "",
                "revision": 1,
            }
            for num in NUMBERS
            if num % 4
        ],
    )
    connection.execute(
        insert(unheard_devices), [{"device_num": num, "type_num": 1 + num * num % 3} for num in NUMBERS if not num % 4]
    )
    group = {"display_name": "", "description": "", "revision": 1, "create_time_ms": 0, "update_time_ms": 0}
    connection.execute(insert(groups), [{"group_num": 1, "group_id": "wet", **group}])
    connection.execute(insert(group_members), [{"group_num": 1, "device_num": num} for num in NUMBERS[::3]])


def break_up(monkeypatch, sorted_at_once=0):
    """As if each of these devices were thousands, or some of them, and the clock had run out."""
    bounds = {
        "_SEARCH_S": 0.0,
        "_FEW": 0,
        "_SORTED": sorted_at_once,
        "_FIRST": 3,
        "_LEAST": 3,
        "_TOGETHER": 4,
        "_FEW_OWNERS": 2,
    }
    for name, value in bounds.items():
        monkeypatch.setattr(device_pages, name, value)


FILTERS = [
    "",
    "device_id = nobody",
    "ward_code = 00070",
    "ward_code = 00004 OR ward_code = '' OR ward_code = 00004",
    "NOT ward_code = 00004 AND display_name:c",
    "device_type = gauge labels.owner = evn",
    "labels.owner:* -labels.owner = 'E*'",
    "labels.owner = 'e*' OR labels.owner = EVN",
    "gateway = 'd-21' OR in_group(wet)",
    "in_group(wet) state = active",
    "site_id = 's-*' external_id:*",
    "site_id = s-6 OR site_id = ''",
    "device_id = 'd*' OR device_id = 'đ-*'",
    "device_id > D-5 device_num > 20",
    "NOT external_id:* AND NOT site_id:*",
    "NOT reported.firmware_version:* OR NOT gateway:*",
    "connectivity = never_seen",
    "NOT reported.last_reading_time:* AND ward_code = 00070",
    "health = bad",
    "health != good",
    "health = degraded OR connectivity != online",
    "connectivity = offline OR health = unknown",
    "near(21.03, 105.8, 2500)",
    "reported.firmware_version = '2.*' state = deleted",
    "reported.last_seen_time > ago(500s) update_time < ago(3s)",
]
ORDERS = [
    "",
    "device_num desc",
    "device_id",
    "display_name desc",
    "display_name, ward_code desc",
    "display_name desc, update_time, device_type desc",
    "ward_code, device_num desc",
    "device_type, device_id",
    "device_type desc, state, labels.owner",
    "site_id, health desc",
    "site_id desc",
    "state desc, connectivity, device_num desc",
    "health desc",
    "update_time desc",
    "create_time, device_id desc",
    "labels.owner",
    "labels.owner desc, reported.firmware_version",
    "external_id",
    "external_id desc, site_id",
    "reported.last_seen_time",
    "reported.last_seen_time desc, display_name",
    "reported.last_reading_time desc",
    "reported.firmware_version desc, reported.last_reading_time",
]


def _pages(connection, filter_text, order_by, limit) -> Iterator[list[int]]:
    condition, order, after = selected(connection, filter_text, NOW_MS), order_of(order_by, DEVICES), None
    while True:
        page = device_pages.find_page(connection, condition, order, after, limit, NOW_MS)
        yield [device.device_num for device in page.found]
        if page.end is None:
            return
        assert page.end != after
        after = page.end


@pytest.mark.parametrize("sorted_at_once", [0, 9])
async def test_pieces_together_are_the_whole(database, monkeypatch, sorted_at_once):
    def whole(connection):
        return {
            (text, order): [num for page in _pages(connection, text, order, 1000) for num in page]
            for at, text in enumerate(FILTERS)
            for order in (ORDERS if not text else [ORDERS[-at % len(ORDERS)] if at % 3 else ""])
        }

    expected = await database.read(whole)
    assert len(expected["", ""]) == len(NUMBERS) - sum(num % 13 == 0 for num in NUMBERS)
    break_up(monkeypatch, sorted_at_once)

    def compare(connection):
        sizes = set()
        for at, ((text, order), nums) in enumerate(expected.items()):
            pages = list(_pages(connection, text, order, 3 + at % 4))
            assert [num for page in pages for num in page] == nums, (text, order)
            sizes |= {len(page) for page in pages}
        # Empty ones, short ones and full ones.
        assert sizes >= {0, 1, 2, 3}

    await database.read(compare)


async def test_an_order_without_an_index_needs_a_filter(database, monkeypatch):
    break_up(monkeypatch)

    def refused(connection, order_by):
        with pytest.raises(InvalidError) as error:
            list(_pages(connection, "", order_by, 10))
        (violation,) = error.value.violations
        assert (violation.field, violation.reason) == ("order_by", "ORDER_NEEDS_FILTER")
        assert "ward_code" in violation.description

    for order_by in ("gateway", "site", "hardware_revision desc", "reported.config_version", "ward_code, gateway"):
        await database.read(refused, order_by)
