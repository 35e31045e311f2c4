"""A filter of devices finds on both databases what it finds in memory: every field as the registry keeps it, in lists
(by whatever index they begin) and in counts; and what is counted off indices is what a pass through all counts."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, delete, insert

from registry.db import device_list, device_pages
from registry.db import schema as db
from registry.devices import listing
from registry.devices.model import State
from registry.devices.selection import selected
from registry.filter.check import condition_of
from registry.filter.evaluate import holds, is_near
from registry.filter.fields import CONNECTIVITIES, DEVICES, HEALTHS, STATES, Type
from registry.filter.order import group_keys_of, order_of
from registry.state.model import Connectivity, Health, Reported, connectivity, health
from tests.support.postgresql import running_postgresql

NOW_MS = 1_800_000_000_000
# By number: name, seconds, whether it is one of gateways.
TYPES = {1: ("gateway", 0, True), 2: ("gauge-rain", 60, False), 3: ("Gauge", 3600, False)}
SITES = {1: "s-1", 2: "S-2"}
GATEWAYS = {1: "gw-a", 2: "gw-B"}
# Also where bands of latitude begin and end, on both sides of the equator.
PLACES = [
    *((None, None), (21.03, 105.85), (21.05, 105.85), (-89.99, 179.99)),
    *((21.025, 105.85), (21.0351, 105.85), (-0.0026, 0.0), (0.0074, 0.0), (0.0, 0.0)),
]
AGES_MS = [None, 0, 119_999, 120_001, 400_000, 10_000_000, 86_400_000]

texts = st.sampled_from(["", "a", "A", "b*", "đ", "Đ", "a%_", "[a]", "a\\", 'a"', "Zz"])
words = st.sampled_from(["", "x", "X", "x.1"])
reported = st.none() | st.fixed_dictionaries(
    {
        "is_connected": st.booleans(),
        "last_seen_ms": st.sampled_from(AGES_MS),
        "last_reading_ms": st.sampled_from(AGES_MS),
        "firmware_version": words,
        "config_version": st.sampled_from([0, 1, 2**40]),
    }
)
devices = st.fixed_dictionaries(
    {
        "display_name": texts,
        "external_id": st.booleans(),
        "type_num": st.sampled_from([2, 3]),
        "gateway_num": st.sampled_from([0, *GATEWAYS]),
        "site_num": st.sampled_from([0, *SITES]),
        "site": texts,
        "ward_code": st.sampled_from(["", "00070", "00004"]),
        "hardware_revision": words,
        "labels": st.dictionaries(st.sampled_from(["owner", "a.b"]), texts, max_size=2),
        "state": st.sampled_from([State.ACTIVE, State.ACTIVE, State.DECOMMISSIONED, State.DELETED]),
        "age_ms": st.sampled_from([0, 1, 3_600_000]),
        "place": st.sampled_from(PLACES),
        "is_member": st.booleans(),
        "reported": reported,
    }
)


def quoted(text: str) -> str:
    return '"' + "".join(f"\\{char}" if char in '"\\*' else char for char in text) + '"'


def values(field) -> st.SearchStrategy[str]:
    known = {
        "device_id": ["d-10", "d-11", "D-12", "gw-a", "gw-B", "nobody"],
        "device_type": [name for name, _, _ in TYPES.values()],
        "gateway": ["", *GATEWAYS.values()],
        "site_id": ["", *SITES.values()],
        "ward_code": ["", "00070", "00004", "0"],
        "external_id": ["", "E-10", "E-11"],
    }
    return (st.sampled_from(known[field.name]) if field.name in known else texts | words).map(quoted)


def term(name: str) -> st.SearchStrategy[str]:
    field = DEVICES.fields[name]
    orders, equals = st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(["=", "!="])
    if field.type is Type.MAP:
        key = st.sampled_from(["labels.owner", "labels.a.b"])
        return st.one_of(
            st.builds("{} {} {}".format, key, orders, texts.map(quoted)),
            st.builds("{}:*".format, key),
            st.just('labels:"owner"'),
        )
    if field.type is Type.ENUM:
        return st.builds(f"{name} {{}} {{}}".format, equals, st.sampled_from(field.values))
    if field.type is Type.NUMBER:
        return st.builds(f"{name} {{}} {{}}".format, orders, st.sampled_from([0, 1, 2, 11, 2**40, -(2**63)]))
    if field.type is Type.TIME:
        times = st.sampled_from(['ago("0s")', 'ago("120s")', 'ago("1h")', "2999-01-01", "1970-01-01"])
        return st.builds(f"{name} {{}} {{}}".format, orders, times) | st.just(f"{name}:*")
    plain = values(field)
    return st.one_of(
        st.builds(f"{name} {{}} {{}}".format, orders, plain),
        st.builds(f'{name} {{}} "{{}}*"'.format, equals, plain.map(lambda text: text[1:-1])),
        st.builds(f"{name}:{{}}".format, plain.filter(lambda text: text != '""')),
        st.just(f"{name}:*"),
    )


terms = st.one_of(
    st.sampled_from(sorted(DEVICES.fields)).flatmap(term),
    st.sampled_from(["in_group(wet)", "near(21.03, 105.85, 1000)", "near(21.03, 105.85, 3000)", "near(-90, 0, 5000)"]),
    st.sampled_from([f"near(0, 0, {radius_m})" for radius_m in (0, 290, 830, 60_000)]),
    texts.filter(bool).map(quoted),
)
filters = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds("NOT ({})".format, inner),
        st.builds("({}) AND {}".format, inner, inner),
        st.builds("({}) OR ({})".format, inner, inner),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def engines() -> Iterator[list[Engine]]:
    with running_postgresql() as url:
        with create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT").connect() as connection:
            locale = "LOCALE_PROVIDER icu ICU_LOCALE 'vi-VN' LOCALE 'C'"
            connection.exec_driver_sql(f"CREATE DATABASE fleet TEMPLATE template0 ENCODING utf8 {locale}")
        made = [create_engine("sqlite://"), create_engine(f"{url}/fleet")]
        for engine in made:
            db.metadata.create_all(engine)
            with engine.begin() as connection:
                _fill_catalogue(connection)
        yield made
        for engine in made:
            engine.dispose()


def _fill_catalogue(connection) -> None:
    plain = {"revision": 0, "create_time_ms": 0, "update_time_ms": 0}
    text = {
        **dict.fromkeys(("display_name", "description", "default_encoding", "decoder", "vectors"), ""),
        **dict.fromkeys(("config_schema", "commands", "hardware_revisions"), ""),
    }
    for num, (name, interval_s, is_gateway) in TYPES.items():
        row = {"type_num": num, "type_id": name, "is_gateway": is_gateway, "expected_interval_s": interval_s}
        fixed = {"is_deleted": False, "version": 1, "dimension_revision": 0}
        connection.execute(insert(db.device_types).values(**plain | text | fixed | row | {"revision": num}))
    for num, name in SITES.items():
        row = {"site_num": num, "site_id": name, "kind": "pole", "display_name": "", "ward_code": "", "labels": "{}"}
        connection.execute(insert(db.sites).values(**plain | row | {"is_ward_derived": False, "revision": num}))
    row = {"group_num": 1, "group_id": "wet", "display_name": "", "description": ""}
    connection.execute(insert(db.groups).values(**plain | row))


def _device(num: int, one: dict) -> dict:
    latitude, longitude = one["place"]
    return {
        "device_num": num,
        "device_id": _device_id(num),
        **{name: one[name] for name in ("type_num", "gateway_num", "site_num", "display_name", "ward_code", "site")},
        "is_ward_derived": False,
        "latitude": latitude,
        "longitude": longitude,
        "is_place_derived": False,
        "placed_time_ms": 0,
        "hardware_revision": one["hardware_revision"],
        "labels": "{}",
        "external_id": f"E-{num}" if one["external_id"] else None,
        "state": one["state"].value,
        "revision": num,
        "create_time_ms": NOW_MS - one["age_ms"],
        "update_time_ms": NOW_MS - one["age_ms"] // 2,
    }


def _device_id(num: int) -> str:
    return GATEWAYS.get(num) or f"{'Dd'[num % 3 > 0]}-{num}"


def _reported(one: dict) -> Reported | None:
    said = one["reported"]
    if said is None:
        return None
    times = {name: None if said[name] is None else NOW_MS - said[name] for name in ("last_seen_ms", "last_reading_ms")}
    unsaid = {"connect_time_ms": None, "disconnect_time_ms": None, "disconnect_reason": "", "hardware_revision": ""}
    return Reported(**said | times | unsaid)


def _fill(connection, fleet: dict[int, dict]) -> None:
    for table in (db.group_members, db.unheard_devices, db.device_state, db.device_labels, db.devices):
        connection.execute(delete(table))
    if not fleet:
        return
    connection.execute(insert(db.devices), [_device(num, one) for num, one in fleet.items()])
    labels = [
        {"device_num": num, "key": key, "value": value}
        for num, one in fleet.items()
        for key, value in one["labels"].items()
    ]
    states = [
        {
            **{name: getattr(said, name) for name in Reported.__struct_fields__},
            "device_num": num,
            "type_num": one["type_num"],
            "node": "",
            "revision": num,
        }
        for num, one in fleet.items()
        if (said := _reported(one)) is not None
    ]
    members = [{"group_num": 1, "device_num": num} for num, one in fleet.items() if one["is_member"]]
    unheard = [
        {"device_num": num, "type_num": one["type_num"]} for num, one in fleet.items() if one["reported"] is None
    ]
    for table, rows in (
        (db.device_labels, labels),
        (db.device_state, states),
        (db.unheard_devices, unheard),
        (db.group_members, members),
    ):
        if rows:
            connection.execute(insert(table), rows)


def _row(num: int, one: dict) -> dict:
    """As a filter sees it."""
    kept, said, interval_s = _device(num, one), _reported(one), TYPES[one["type_num"]][1]
    return {
        **{name: kept[name] for name in ("device_num", "device_id", "display_name", "site", "ward_code")},
        "hardware_revision": kept["hardware_revision"],
        "device_type": TYPES[one["type_num"]][0],
        "external_id": kept["external_id"] or "",
        "gateway": GATEWAYS.get(one["gateway_num"], ""),
        "site_id": SITES.get(one["site_num"], ""),
        "labels": one["labels"],
        "state": STATES[one["state"].value - 1],
        "create_time": kept["create_time_ms"],
        "update_time": kept["update_time_ms"],
        "connectivity": CONNECTIVITIES[connectivity(said, interval_s, NOW_MS) - Connectivity.NEVER_SEEN],
        "health": HEALTHS[health(said, interval_s, NOW_MS) - Health.UNKNOWN],
        "reported.firmware_version": said.firmware_version if said else "",
        "reported.config_version": said.config_version or None if said else None,
        "reported.last_seen_time": said.last_seen_ms if said else None,
        "reported.last_reading_time": said.last_reading_ms if said else None,
        "place": one["place"],
        "is_member": one["is_member"],
    }


def _answer(name: str, arguments: tuple, row: dict) -> bool:
    if name == "in_group":
        return row["is_member"]
    return row["place"][0] is not None and is_near(row["place"], *arguments)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(devices, min_size=2, max_size=2), st.lists(devices, max_size=6), st.lists(filters, min_size=1, max_size=8)
)
def test_sql_finds_what_memory_finds(engines, gateways, others, given_filters):
    fleet = {num: one | {"type_num": 1, "gateway_num": 0} for num, one in enumerate(gateways, 1)}
    fleet |= dict(enumerate(others, 10))
    rows = {num: _row(num, one) for num, one in fleet.items()}
    for engine in engines:
        with engine.connect() as connection:
            _fill(connection, fleet)
            for text in given_filters:
                expected = [
                    num for num, row in rows.items() if holds(condition_of(text, DEVICES, NOW_MS), row, _answer)
                ]
                condition = selected(connection, text, NOW_MS, show_deleted=True)
                page = device_pages.find_page(connection, condition, order_of("", DEVICES), None, 100, NOW_MS)
                assert [found.device_num for found in page.found] == expected, (engine.dialect.name, text)
                counted = device_list.count(connection, condition, NOW_MS)
                assert counted == len(expected), (engine.dialect.name, text)
            connection.rollback()


def _seen_when_read(one: dict) -> dict:
    """As it is stored: a reading is a message too."""
    said = one["reported"]
    if said is None or said["last_reading_ms"] is None:
        return one
    seen_ms = said["last_reading_ms"] if said["last_seen_ms"] is None else said["last_seen_ms"]
    return one | {"reported": said | {"last_seen_ms": min(seen_ms, said["last_reading_ms"])}}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(devices, max_size=14))
def test_counts_off_indices_are_those_of_a_pass_through_all(engines, given_devices):
    fleet = {
        num: _seen_when_read(one) | ({"type_num": 1} if num % 5 == 0 else {})
        for num, one in enumerate(given_devices, 10)
    }
    for engine in engines:
        with engine.connect() as connection:
            _fill(connection, fleet)
            connection.execute(insert(db.label_keys).values(key="", devices=len(fleet)))
            for name in ("connectivity", "health", "reported.firmware_version"):
                keys = group_keys_of([name])
                # Which all pass, but nobody knows that before.
                whole = listing.count_devices(connection, "device_num > 0", keys, 3, NOW_MS)
                assert listing.count_devices(connection, "", keys, 3, NOW_MS) == whole, (engine.dialect.name, name)
            connection.rollback()
