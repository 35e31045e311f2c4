"""SensorThings over real HTTP on a real store: what is answered, to whom, and what is refused."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import frost_sta_client as fsc
import pytest

from runtime.settings import ListenSettings
from share.app import serving
from share.settings import ShareSettings
from tests.support.store import StoreHandle, running_store
from tests.support.wards import MARKER, OTHER, OWN, fill, settled_account

START_MS = 1_793_491_200_000  # 2026-11-01T00:00:00Z
HISTORY = "phenomenonTime ge 2026-11-01T00:00:00Z and phenomenonTime lt 2026-11-08T07:00:00+07:00"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("store")) as running:
        fill(running)
        running.query(
            "INSERT INTO cityfleet.readings (device_num, metric_num, ts, value, quality, ward_code, received_at) "
            f"SELECT 10, 8, toDateTime64('2026-11-01 00:00:00', 3, 'UTC') + 60 * number, number, 1, '{OWN}', now64() "
            "FROM numbers(1, 250)",
            "writer",
        )
        running.query(
            "INSERT INTO cityfleet.quality_flags "
            "(metric_num, device_num, ts, quality, quality_reasons, ward_code, version) "
            f"VALUES (8, 10, '2026-11-01 00:01:00', 4, 16, '{OWN}', 1)",
            "admin",
        )
        running.query(
            "ALTER TABLE cityfleet.devices UPDATE latitude = 21.03, longitude = 105.85 WHERE device_num < 20", "admin"
        )
        yield running


@pytest.fixture(scope="module")
def password(store: StoreHandle) -> str:
    return settled_account(store, "phuong70", OWN, devices=42)


class Client:
    def __init__(self, session: aiohttp.ClientSession, base: str, user: str, password: str) -> None:
        self.base = base
        self._session = session
        self._auth = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    async def ask(self, path: str, status: int = 200, **options: object) -> Any:
        query = "&".join(f"${name}={quote(str(value))}" for name, value in options.items())
        url = path if path.startswith("http") else f"{self.base}/sta/v1.1/{path}{'?' + query if query else ''}"
        async with self._session.get(url, headers=self._auth) as answer:
            text = await answer.text()
            assert answer.status == status, text
            kind = "application/json" if status == 200 else "application/problem+json"
            assert answer.content_type == kind
            return json.loads(text)


@pytest.fixture
async def base(store: StoreHandle) -> AsyncIterator[str]:
    settings = ShareSettings(listen=ListenSettings(), http=ListenSettings())
    async with serving(settings, store.settings, store.data_dir) as addresses:
        yield addresses["http"]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def city(store: StoreHandle, session: aiohttp.ClientSession, base: str) -> Client:
    return Client(session, base, "reader", store.reader_password)


@pytest.fixture
async def ward(password: str, session: aiohttp.ClientSession, base: str) -> Client:
    return Client(session, base, "phuong70", password)


async def walk(client: Client, path: str, **options: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    body = await client.ask(path, **options)
    while True:
        found += body["value"]
        if "@iot.nextLink" not in body:
            return found
        body = await client.ask(body["@iot.nextLink"])


async def test_pages_give_every_thing_once_and_count_them(city: Client):
    body = await city.ask("Things", top=30, count="true")
    assert body["@iot.count"] == 80
    assert [thing["@iot.id"] for thing in await walk(city, "Things", top=30)] == list(range(80))
    assert [thing["@iot.id"] for thing in await walk(city, "Things", top=30, orderby="id desc")] == list(
        range(79, -1, -1)
    )


async def test_entities_have_what_the_standard_asks_for(city: Client):
    needed = {
        "Things": {"name", "description", "Datastreams@iot.navigationLink", "Locations@iot.navigationLink"},
        "Locations": {"name", "description", "encodingType", "location", "Things@iot.navigationLink"},
        "FeaturesOfInterest": {"name", "description", "encodingType", "feature"},
        "Datastreams": {"name", "description", "observationType", "unitOfMeasurement", "Thing@iot.navigationLink"}
        | {f"{name}@iot.navigationLink" for name in ("Sensor", "ObservedProperty", "Observations")},
        "Sensors": {"name", "description", "encodingType", "metadata", "Datastreams@iot.navigationLink"},
        "ObservedProperties": {"name", "description", "definition", "Datastreams@iot.navigationLink"},
    }
    root = await city.ask("")
    assert {one["name"] for one in root["value"]} == {*needed, "Observations"}
    for name, keys in needed.items():
        first = (await city.ask(name, top=1))["value"][0]
        assert keys | {"@iot.id", "@iot.selfLink"} <= first.keys()
        assert await city.ask(first["@iot.selfLink"]) == first
        for key in keys:
            if key.endswith("navigationLink") and not key.startswith("Observations"):
                await city.ask(first[key])


async def test_history_comes_in_pages_with_the_quality_that_tests_found(city: Client):
    stream = 10 * 65536 + 8
    found = await walk(city, f"Datastreams({stream})/Observations", top=100, filter=HISTORY)
    assert [one["result"] for one in found] == [10.0, *map(float, range(1, 251))]
    assert [one["resultQuality"] for one in found[:3]] == [1, 4, 1]
    assert found[1]["phenomenonTime"] == "2026-11-01T00:01:00.000Z"
    back = await walk(
        city, "Observations", filter=f"Datastream/id eq {stream} and {HISTORY}", orderby="phenomenonTime desc"
    )
    assert back == found[::-1]
    some = await city.ask(f"Datastreams({stream})/Observations", filter=f"{HISTORY} and result gt 240", count="true")
    assert (some["@iot.count"], [one["result"] for one in some["value"]]) == (10, list(range(241, 251)))
    one = await city.ask(found[5]["@iot.selfLink"])
    assert one == found[5]
    assert (await city.ask(one["Datastream@iot.navigationLink"]))["@iot.id"] == stream
    assert (await city.ask(one["FeatureOfInterest@iot.navigationLink"]))["@iot.id"] == 10


async def test_the_newest_of_every_datastream_is_one_request(city: Client):
    latest = "Observations($top=1;$orderby=phenomenonTime desc)"
    streams = await walk(city, "Datastreams", top=50, expand=f"{latest},Thing,ObservedProperty")
    assert len(streams) == 80
    for stream in streams:
        assert [one["result"] for one in stream["Observations"]] == [stream["@iot.id"] >> 16]
        assert stream["Thing"]["name"] == stream["properties"]["device_id"]
        assert stream["ObservedProperty"]["@iot.id"] == stream["@iot.id"] & 0xFFFF


async def test_things_are_filtered_expanded_and_cut_down(city: Client):
    body = await city.ask(
        "Things",
        filter=f"properties/ward_code eq '{OWN}' and id lt 4",
        expand="Datastreams",
        select="id,name,Datastreams",
    )
    assert [one.keys() for one in body["value"]] == [{"@iot.id", "name", "Datastreams"}] * 2
    assert [one["Datastreams"][0]["@iot.id"] for one in body["value"]] == [7, 2 * 65536 + 7]


async def test_a_ward_gets_its_own_and_what_is_public(ward: Client):
    things = await walk(ward, "Things")
    assert {one["@iot.id"] for one in things} == {1, 3, *range(0, 80, 2)}
    assert (await ward.ask("Things", count="true", top=0))["@iot.count"] == 42
    others = await walk(ward, "Things", filter=f"properties/ward_code eq '{OTHER}'")
    assert {one["@iot.id"] for one in others} == {1, 3}


@pytest.mark.parametrize(
    "path",
    [
        "Things(5)",
        "Things(5)/Datastreams",
        "Locations(5)",
        "FeaturesOfInterest(5)",
        f"Datastreams({5 * 65536 + 8})",
        f"Observations('{5 * 65536 + 8}-{START_MS}')",
    ],
)
async def test_what_is_another_wards_is_not_there(city: Client, ward: Client, path: str):
    await city.ask(path)
    told = await ward.ask(path, 404)
    assert MARKER not in json.dumps(told)


async def test_another_wards_history_is_empty_and_not_counted(ward: Client):
    body = await ward.ask("Observations", filter=f"Datastream/id eq {5 * 65536 + 8} and {HISTORY}", count="true")
    assert body == {"@iot.count": 0, "value": []}


@pytest.mark.parametrize(
    ("path", "options", "parameter"),
    [
        ("Things", {"filter": "name eq 'x' or 1 eq 1"}, "$filter"),
        ("Things", {"filter": "name eq 'x' and "}, "$filter"),
        ("Things", {"filter": "secret eq 'x'"}, "$filter"),
        ("Things", {"filter": "id eq 'x'"}, "$filter"),
        ("Things", {"top": -1}, "$top"),
        ("Things", {"skip": 99999}, "$skip"),
        ("Things", {"orderby": "name"}, "$orderby"),
        ("Things", {"expand": "Datastreams/Observations"}, "$expand"),
        ("Things", {"select": "password"}, "$select"),
        ("Things", {"skiptoken": "1) OR (1=1"}, "$skiptoken"),
        ("Things", {"apply": "groupby((name))"}, "$apply"),
        ("Observations", {}, "$filter"),
        ("Datastreams(7)/Observations", {"filter": "phenomenonTime gt 2026-01-01"}, "$filter"),
        (
            "Datastreams(7)/Observations",
            {"filter": "phenomenonTime gt 2020-01-01T00:00:00Z and phenomenonTime lt 2026-01-01T00:00:00Z"},
            "$filter",
        ),
    ],
)
async def test_what_is_wrong_is_named(city: Client, path: str, options: dict[str, object], parameter: str):
    assert (await city.ask(path, 400, **options))["parameter"] == parameter


async def test_values_are_bound_and_never_sql(ward: Client):
    for text in ("' OR 1=1 --", "''') OR (1=1", "{token:UInt64}", "x') UNION ALL SELECT 1 --"):
        quoted = text.replace("'", "''")
        assert (await ward.ask("Things", filter=f"name eq '{quoted}'"))["value"] == []
    await ward.ask("Things", 400, filter=r"name eq 'a\b'")


@pytest.mark.parametrize("ms", ["-9999999999999", "0", "9999999999999", "99999999999999"])
async def test_an_observation_of_no_time_that_was_is_not_there(city: Client, ms: str):
    await city.ask(f"Observations('{10 * 65536 + 8}-{ms}')", 404)


async def test_nobody_is_answered_without_a_password_that_the_store_knows(session: aiohttp.ClientSession, base: str):
    for path in ("", "Things", "Things(1)"):
        async with session.get(f"{base}/sta/v1.1/{path}") as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
    await Client(session, base, "reader", "wrong").ask("Things", 401)
    await Client(session, base, "nobody", "wrong").ask("Things", 401)


async def test_nothing_is_written(session: aiohttp.ClientSession, base: str):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        async with session.request(method, f"{base}/sta/v1.1/Things", json={"name": "x"}) as answer:
            assert (answer.status, answer.content_type) == (405, "application/problem+json")


async def test_a_client_of_others_reads_it(store: StoreHandle, base: str):
    def read() -> tuple[list[int], list[float], str]:
        auth = fsc.AuthHandler(username="reader", password=store.reader_password)
        service = fsc.SensorThingsService(f"{base}/sta/v1.1", auth_handler=auth)
        things = [thing.id for thing in service.things().query().top(50).list()]
        stream = service.datastreams().find(10 * 65536 + 8)
        history = stream.get_observations().query().filter(f"{HISTORY} and result le 120").list()
        return things, [one.result for one in history], stream.unit_of_measurement.symbol

    things, results, unit = await asyncio.to_thread(read)
    assert things == list(range(80))
    assert sorted(results) == sorted([10.0, *map(float, range(1, 121))])
    assert unit == "mm"
