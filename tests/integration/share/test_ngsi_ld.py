"""NGSI-LD over real HTTP on a real store: entities, pages, what is compared, and what a ward does not see."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from runtime.settings import ListenSettings
from share.app import serving
from share.settings import ShareSettings
from tests.support.store import StoreHandle, running_store
from tests.support.wards import MARKER, OTHER, OWN, fill, settled_account

# The models of smartdatamodels.org as their model.yaml has them: what is required, and names that we use of the rest.
COMMON = {"id", "type", "name", "location", "areaServed"}
MODELS = {
    "AirQualityObserved": (
        {"id", "type", "dateObserved", "location"},
        COMMON | {"dateObserved", "pm25", "pm10", "so2", "no2", "o3", "co"},
    ),
    "TrafficFlowObserved": (
        {"id", "type", "dateObserved"},
        COMMON | {"dateObserved", "intensity", "occupancy", "averageVehicleSpeed", "refRoadSegment"},
    ),
    "FloodMonitoring": (
        {"id", "type"},
        COMMON | {"observationDateTime", "currentLevel", "alertLevel", "dangerLevel", "floodLevelStatus", "stationID"},
    ),
    "WeatherObserved": (
        {"id", "type", "dateObserved", "location"},
        COMMON | {"dateObserved", "temperature", "relativeHumidity", "precipitation", "windSpeed", "refDevice"},
    ),
    "Device": (
        {"id", "type", "controlledProperty"},
        COMMON
        | {"controlledProperty", "deviceCategory", "deviceState", "batteryLevel", "rssi", "dateLastValueReported"}
        | {"hardwareVersion", "firmwareVersion", "dateLastCalibration"},
    ),
}
OURS = {"wardCode", "alarmLevels", "refDevice", "gateway"}
METRICS = {
    20: "pm2_5_ug_m3",
    21: "pm10_ug_m3",
    22: "humidity_pct",
    23: "vehicle_count",
    24: "occupancy_pct",
    25: "speed_km_h",
    26: "battery_pct",
    27: "rssi_dbm",
}
# device: type, ward, values by metric
MORE = {
    100: ("air", OWN, {20: 35.5, 21: 80.0, 22: 55.0, 26: 87.0, 27: -71.0}),
    101: ("air", OTHER, {20: 60.0, 26: 12.0}),
    102: ("air", OWN, {20: 999.0}),  # a test in the store failed it
    103: ("air", OWN, {}),
    110: ("traffic", OWN, {23: 12.0, 24: 29.0, 25: 41.5}),
}


def insert(store: StoreHandle) -> None:
    numbers = {"air": (20, 21, 22, 26, 27), "traffic": (23, 24, 25)}
    statements = [
        f"INSERT INTO cityfleet.metrics VALUES ({number}, '{name}', '1', '', 1)" for number, name in METRICS.items()
    ]
    for number, (kind, metrics) in enumerate(numbers.items(), 10):
        none = [None] * len(metrics)
        columns = f"{list(metrics)}, {[0] * len(none)}, {none}, {none}, {[0] * len(none)}, {[''] * len(none)}"
        statements.append(
            "INSERT INTO cityfleet.device_types (type_num, device_type, metric_nums, metric_intervals_s, "
            "metric_min_values, metric_max_values, metric_resolutions, metric_tests, version) "
            f"VALUES ({number}, '{kind}', {columns.replace('None', 'NULL')}, 1)"
        )
    for number, (kind, ward, values) in MORE.items():
        name = f"{kind}-{number}" if ward == OWN else f"{MARKER}-{number}"
        statements.append(
            "INSERT INTO cityfleet.devices (device_num, device_id, device_type, display_name, ward_code, state, "
            f"labels, latitude, longitude, version) VALUES ({number}, '{name}', '{kind}', '{name}', '{ward}', "
            f"'active', {{'firmware': '1.4'}}, 21.03, {105.8 + (number - 100) / 1000}, 1)"
        )
        statements += [
            "INSERT INTO cityfleet.latest (device_num, metric_num, ts, value, quality, ward_code, received_at) VALUES "
            f"({number}, {metric}, '2026-11-01 00:0{metric - 20}:00', {value}, 1, '{ward}', '2026-11-01 00:08:00')"
            for metric, value in values.items()
        ]
    for device, metric, ward, count, step_s in (
        (100, 20, OWN, 20, 60),
        (101, 20, OTHER, 5, 60),
        (10, 8, OWN, 12000, 1),
    ):
        statements.append(
            "INSERT INTO cityfleet.readings (device_num, metric_num, ts, value, quality, ward_code, received_at) "
            f"SELECT {device}, {metric}, toDateTime64('2026-11-01 01:00:00', 3, 'UTC') + {step_s} * number, number, 1, "
            f"'{ward}', now64() FROM numbers({count})"
        )
    flag = (
        "INSERT INTO cityfleet.quality_flags (metric_num, device_num, ts, quality, quality_reasons, ward_code, version)"
    )
    statements += [
        f"{flag} VALUES (20, 102, '2026-11-01 00:00:00', 4, 16, '{OWN}', 1)",
        f"{flag} VALUES (20, 100, '2026-11-01 01:03:00', 4, 16, '{OWN}', 1)",
        f"{flag} VALUES (20, 100, '2026-11-01 01:04:00', 3, 16, '{OWN}', 1)",
        "ALTER TABLE cityfleet.devices UPDATE labels = map('station', 'long-bien') WHERE device_num = 2",
    ]
    for sql in statements:
        store.query(sql, "admin")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("store")) as running:
        fill(running)
        insert(running)
        yield running


@pytest.fixture(scope="module")
def password(store: StoreHandle) -> str:
    return settled_account(store, "phuong70", OWN, devices=46)


class Client:
    def __init__(self, session: aiohttp.ClientSession, base: str, user: str, password: str) -> None:
        self.base = base
        self._session = session
        self._auth = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
        self.links: dict[str, str] = {}
        self.count = -1
        self.content_range = ""

    async def ask(self, path: str, status: int = 200, accept: str = "application/json", **query: object) -> Any:
        text = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        url = path if path.startswith("http") else f"{self.base}/ngsi-ld/v1/{path}{'?' + text if text else ''}"
        async with self._session.get(url, headers={**self._auth, "Accept": accept}) as answer:
            body = await answer.text()
            assert answer.status == status, body
            assert answer.content_type == (accept if status < 300 else "application/problem+json")
            self.content_range = answer.headers.get("Content-Range", "")
            self.links = {str(name): str(link["url"]) for name, link in answer.links.items()}
            self.count = int(answer.headers.get("NGSILD-Results-Count", -1))
            return json.loads(body)

    async def ids(self, **query: object) -> list[str]:
        return [one["id"].removeprefix("urn:ngsi-ld:") for one in await self.ask("entities", **query)]


@pytest.fixture
async def base(store: StoreHandle) -> AsyncIterator[str]:
    settings = ShareSettings(listen=ListenSettings(), http=ListenSettings(), deadline_s=600)
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


async def test_every_type_has_what_its_model_requires_and_no_name_of_its_own_making(city: Client):
    assert (await city.ask("types"))["typeList"] == sorted(MODELS)
    context = (await city.ask("jsonldContexts/cityfleet", accept="application/ld+json"))["@context"]
    for name, (required, known) in MODELS.items():
        found = await city.ask("entities", type=name, options="keyValues", limit=1000)
        assert found
        for one in found:
            assert one["type"] == name
            # Where a device stands is not always known.
            assert required - {"location"} <= one.keys()
            assert one.keys() <= known | OURS
            assert one.keys() - {"id", "type", "location"} <= context.keys()
        assert context[name].startswith("https://smartdatamodels.org/dataModel.")
        details = (await city.ask(f"types/{name}"))["attributeDetails"]
        assert set().union(*found) - {"id", "type"} <= {one["id"] for one in details}


async def test_values_are_in_the_units_of_the_models_with_time_unit_and_quality(city: Client):
    air = await city.ask("entities/urn:ngsi-ld:AirQualityObserved:air-100")
    assert air["pm25"] == {
        "type": "Property",
        "value": 35.5,
        "unitCode": "GQ",
        "observedAt": "2026-11-01T00:00:00.000Z",
        "quality": {"type": "Property", "value": 1},
    }
    assert air["dateObserved"]["value"] == {"@type": "DateTime", "@value": "2026-11-01T00:01:00.000Z"}
    assert air["location"]["value"] == {"type": "Point", "coordinates": [105.8, 21.03]}
    assert air["refDevice"] == {"type": "Relationship", "object": "urn:ngsi-ld:Device:air-100"}
    device = await city.ask("entities/urn:ngsi-ld:Device:air-100", options="keyValues")
    assert (device["batteryLevel"], device["rssi"], device["firmwareVersion"]) == (0.87, -71, "1.4")
    assert device["controlledProperty"] == ["airPollution", "batteryLife", "humidity"]
    assert device["dateLastValueReported"] == "2026-11-01T00:07:00.000Z"
    assert (await city.ask("entities/urn:ngsi-ld:Device:air-103", options="keyValues"))["batteryLevel"] == -1
    traffic = await city.ask("entities/urn:ngsi-ld:TrafficFlowObserved:traffic-110", options="keyValues")
    assert (traffic["intensity"], traffic["occupancy"], traffic["averageVehicleSpeed"]) == (12, 0.29, 41.5)
    assert (await city.ask("entities/urn:ngsi-ld:WeatherObserved:air-100", options="simplified"))[
        "relativeHumidity"
    ] == 0.55
    street = await city.ask("entities/urn:ngsi-ld:FloodMonitoring:10", options="keyValues")
    assert street["currentLevel"] == 0.01
    river = await city.ask("entities/urn:ngsi-ld:FloodMonitoring:2", options="keyValues")
    assert (river["currentLevel"], river["alertLevel"], river["dangerLevel"]) == (2, 9.5, 11.5)
    assert (river["alarmLevels"], river["floodLevelStatus"]) == ([9.5, 10.5, 11.5], "Normal")


async def test_a_failed_reading_is_no_value_and_without_a_value_nothing_is_observed(city: Client):
    assert await city.ids(type="AirQualityObserved") == ["AirQualityObserved:air-100", "AirQualityObserved:secret-101"]
    for name in ("air-102", "air-103"):
        told = await city.ask(f"entities/urn:ngsi-ld:AirQualityObserved:{name}", 404)
        assert told["type"] == "https://uri.etsi.org/ngsi-ld/errors/ResourceNotFound"
        await city.ask(f"entities/urn:ngsi-ld:Device:{name}")


async def test_pages_give_every_entity_once_over_all_types(city: Client):
    await city.ask("entities", attrs="name", limit=0, count="true")
    total = city.count
    found = [one["id"] for one in await city.ask("entities", attrs="name", limit=11)]
    while "next" in city.links:
        found += [one["id"] for one in await city.ask(city.links["next"])]
    assert len(found) == len(set(found)) == total == 2 + 85 + 80 + 1 + 1
    skipped: list[str] = []
    for offset in range(0, total, 50):
        skipped += [f"urn:ngsi-ld:{one}" for one in await city.ids(attrs="name", limit=50, offset=offset)]
    assert skipped == found
    assert (await city.ask("entities", type="Device", limit=2))[0].keys() >= {"deviceState", "controlledProperty"}


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"q": "pm25>35.4;pm25<=60"}, ["air-100", "secret-101"]),
        ({"q": "pm25!=60"}, ["air-100"]),
        ({"q": "relativeHumidity==0.55"}, ["air-100"]),
        ({"q": "occupancy==0.28,0.29"}, ["traffic-110"]),
        ({"q": 'name=="air-100","air-102"', "type": "Device"}, ["air-100", "air-102"]),
        ({"q": f'wardCode!="{OWN}"', "type": "AirQualityObserved"}, ["secret-101"]),
        ({"q": "refDevice==urn:ngsi-ld:Device:air-100", "type": "AirQualityObserved,WeatherObserved"}, ["air-100"] * 2),
        ({"q": "dateObserved>2026-11-01T00:00:30Z", "type": "AirQualityObserved"}, ["air-100"]),
        ({"q": "pm10"}, ["air-100"]),
        ({"attrs": "pm10"}, ["air-100"]),
        ({"attrs": "batteryLevel,rssi"}, ["air-100", "secret-101"]),
        ({"q": "currentLevel>=0.079"}, ["secret-1", "2", "secret-3", "secret-79"]),
        ({"id": "urn:ngsi-ld:Device:air-100,urn:ngsi-ld:AirQualityObserved:air-100,urn:x:y"}, ["air-100"] * 2),
        ({"type": "https://smartdatamodels.org/dataModel.Transportation/TrafficFlowObserved"}, ["traffic-110"]),
        ({"type": "Vehicle"}, []),
        (
            {
                "type": "AirQualityObserved",
                "georel": "near;maxDistance==50",
                "geometry": "Point",
                "coordinates": "[105.8,21.03]",
            },
            ["air-100"],
        ),
        (
            {
                "type": "Device",
                "georel": "within",
                "geometry": "Polygon",
                "coordinates": "[[[105.8005,21],[105.9,21],[105.9,22],[105.8005,22],[105.8005,21]]]",
                "q": "firmwareVersion==1.4",
            },
            ["secret-101", "air-102", "air-103", "traffic-110"],
        ),
    ],
)
async def test_entities_are_found_by_what_they_are(city: Client, query: dict[str, str], ids: list[str]):
    found = await city.ids(limit=50, count="true", **query)
    assert [one.split(":")[1] for one in found] == ids
    assert city.count == len(ids)


async def test_attrs_are_what_is_shown(city: Client):
    (one,) = await city.ask("entities", type="AirQualityObserved", attrs="pm10", options="keyValues,sysAttrs")
    assert one.keys() == {"id", "type", "pm10", "createdAt", "modifiedAt"}


async def test_the_context_is_in_json_ld_and_beside_json(city: Client):
    body = await city.ask("entities", accept="application/ld+json", type="TrafficFlowObserved")
    ours, core = body[0]["@context"]
    assert core.startswith("https://uri.etsi.org/ngsi-ld/v1/")
    await city.ask("entities", type="TrafficFlowObserved")
    assert city.links["http://www.w3.org/ns/json-ld#context"] == ours
    async with aiohttp.ClientSession() as anybody, anybody.get(ours) as answer:
        assert (await answer.json(content_type="application/ld+json"))["@context"]["pm25"].endswith("Environment/pm25")


async def test_a_ward_gets_its_own_and_what_is_public(ward: Client):
    found = await ward.ids(attrs="name", limit=1000, count="true")
    others = {one for one in found if MARKER in one}
    # Levels of rivers are public by law.
    assert others == {f"{name}:{MARKER}-{number}" for name in ("Device", "FloodMonitoring") for number in (1, 3)}
    assert ward.count == len(found) == 1 + 46 + 42 + 1 + 1
    assert (await ward.ask("types/AirQualityObserved"))["entityCount"] == 1


@pytest.mark.parametrize(
    "query",
    [
        {"id": f"urn:ngsi-ld:Device:{MARKER}-101"},
        {"type": "Device", "q": f'name=="{MARKER}-101"'},
        {"type": "AirQualityObserved", "q": f'wardCode=="{OTHER}"'},
        {"q": "pm25==60"},
        {"q": "batteryLevel<0.2"},
        {"q": "dateObserved==2026-11-01T00:00:00Z"},
        {
            "type": "AirQualityObserved",
            "georel": "near;maxDistance==10",
            "geometry": "Point",
            "coordinates": "[105.801,21.03]",
        },
        {"type": "Device", "after": "Device:100", "limit": 1, "q": "batteryLevel<0.2"},
        {"type": "AirQualityObserved", "q": 'name=="x\' OR 1=1 --"'},
        {"type": "AirQualityObserved", "q": 'name=="x\') OR (1=1"'},
        {"type": "AirQualityObserved", "q": 'name=="{limit:UInt32}"'},
    ],
)
async def test_what_is_another_wards_is_not_found_by_any_question(ward: Client, query: dict[str, object]):
    assert await ward.ask("entities", count="true", **query) == []
    assert ward.count == 0


@pytest.mark.parametrize("name", ["Device", "AirQualityObserved", "FloodMonitoring"])
async def test_another_wards_entity_is_not_there(city: Client, ward: Client, name: str):
    number = 5 if name == "FloodMonitoring" else 101
    path = f"entities/urn:ngsi-ld:{name}:{MARKER}-{number}"
    await city.ask(path)
    await ward.ask(path, 404)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({}, "type"),
        ({"type": "Device", "limit": -1}, "limit"),
        ({"type": "Device", "limit": 0}, "limit"),
        ({"type": "Device", "offset": "x"}, "offset"),
        ({"type": "Device", "count": "yes"}, "count"),
        ({"type": "Device", "options": "concise"}, "options"),
        ({"type": "Device", "idPattern": ".*"}, "idPattern"),
        ({"type": "Device;Vehicle"}, "type"),
        ({"type": "Device", "after": "Device:1) OR (1=1"}, "after"),
        ({"type": "Device", "after": "FloodMonitoring:1"}, "after"),
        ({"q": "pm25>1|pm10>1"}, "q"),
        ({"q": "(pm25>1)"}, "q"),
        ({"q": "pm25>high"}, "q"),
        ({"q": "pm25>nan"}, "q"),
        ({"q": "pm25>1,2"}, "q"),
        ({"q": "password==1"}, "q"),
        ({"q": "location==1"}, "q"),
        ({"q": "dateObserved>yesterday"}, "q"),
        ({"q": ";".join(["pm25>1"] * 21)}, "q"),
        ({"type": "Device", "georel": "near;maxDistance==10"}, "georel"),
        ({"type": "Device", "georel": "overlaps", "geometry": "Point", "coordinates": "[1,2]"}, "georel"),
        ({"type": "Device", "georel": "near;maxDistance==1", "geometry": "Point", "coordinates": "[1"}, "coordinates"),
        (
            {"type": "Device", "georel": "near;maxDistance==1", "geometry": "Point", "coordinates": "[1e308,1]"},
            "coordinates",
        ),
        ({"type": "Device", "georel": "within", "geometry": "Polygon", "coordinates": "[[[1,2]]]"}, "coordinates"),
    ],
)
async def test_what_is_wrong_is_named(city: Client, query: dict[str, object], parameter: str):
    told = await city.ask("entities", 400, **query)
    assert told["type"] == "https://uri.etsi.org/ngsi-ld/errors/BadRequestData"
    assert told.get("parameter", "") == parameter


async def test_too_large_a_page_is_refused_by_its_own_name(city: Client):
    told = await city.ask("entities", 403, type="Device", limit=1001)
    assert told["type"] == "https://uri.etsi.org/ngsi-ld/errors/TooManyResults"


async def test_nobody_is_answered_without_a_password_and_nothing_is_written(session: aiohttp.ClientSession, base: str):
    for path in ("entities?type=Device", "entities/urn:ngsi-ld:Device:0", "types", "types/Device"):
        async with session.get(f"{base}/ngsi-ld/v1/{path}") as answer:
            assert answer.status == 401
    for method, path in (("POST", "entities"), ("PATCH", "entities/urn:ngsi-ld:Device:0"), ("DELETE", "types")):
        async with session.request(method, f"{base}/ngsi-ld/v1/{path}", json={}) as answer:
            assert answer.status == 405
            assert (await answer.json(content_type=None))["type"].endswith("/OperationNotSupported")


DAY = {"timerel": "between", "timeAt": "2026-11-01T00:30:00Z", "endTimeAt": "2026-11-02T00:00:00Z"}


async def test_a_history_has_the_values_that_did_not_fail_with_time_and_quality(city: Client):
    path = "temporal/entities/urn:ngsi-ld:AirQualityObserved:air-100"
    found = await city.ask(path, **DAY)
    assert found.keys() == {"id", "type", "pm25"}
    assert [one["value"] for one in found["pm25"]] == [0, 1, 2, *range(4, 20)]
    assert found["pm25"][3] == {
        "type": "Property",
        "value": 4,
        "unitCode": "GQ",
        "observedAt": "2026-11-01T01:04:00.000Z",
        "quality": {"type": "Property", "value": 3},
    }
    simple = await city.ask(path, options="temporalValues", lastN=2, **DAY)
    assert simple["pm25"]["values"] == [[19, "2026-11-01T01:19:00.000Z"], [18, "2026-11-01T01:18:00.000Z"]]
    assert (await city.ask(path, attrs="pm10", **DAY)).keys() == {"id", "type"}
    assert (await city.ask(path, timerel="before", timeAt="2026-11-01T01:00:00Z")).keys() == {"id", "type"}
    after = await city.ask(path, timerel="after", timeAt="2026-11-01T01:18:00Z")
    assert [one["value"] for one in after["pm25"]] == [19]


async def test_too_many_values_are_a_part_that_says_where_it_ends(city: Client):
    path, span = "temporal/entities/urn:ngsi-ld:FloodMonitoring:10", dict(DAY)
    seen: list[float] = []
    for status in (206, 200):
        found = await city.ask(path, status, options="temporalValues", **span)
        seen += [value for value, _ in found["currentLevel"]["values"]]
        if status == 206:
            first, span["timeAt"] = city.content_range.removeprefix("date-time ").removesuffix("/*").split("Z-")
            assert first == "2026-11-01T00:30:00.000"
    assert seen == [number / 1000 for number in range(12000)]
    found = await city.ask(path, 206, options="temporalValues", lastN=11_000, **DAY)
    assert [value for value, _ in found["currentLevel"]["values"]] == [
        number / 1000 for number in range(11999, 1999, -1)
    ]


async def test_histories_of_many_come_in_pages_and_only_those_one_may_see(city: Client, ward: Client):
    for client, ids in ((city, ["air-100", f"{MARKER}-101"]), (ward, ["air-100"])):
        names, body = [], await client.ask("temporal/entities", type="AirQualityObserved", limit=1, count="true", **DAY)
        assert client.count == len(ids)
        while True:
            names += [one["id"].split(":")[3] for one in body if one["pm25"]]
            if "next" not in client.links:
                break
            body = await client.ask(client.links["next"])
        assert names == ids
    path = f"temporal/entities/urn:ngsi-ld:AirQualityObserved:{MARKER}-101"
    await city.ask(path, **DAY)
    await ward.ask(path, 404, **DAY)


@pytest.mark.parametrize(
    ("query", "status", "parameter"),
    [
        ({"type": "Device"}, 400, "timerel"),
        ({"q": "pm25>1", **DAY}, 400, "q"),
        ({"type": "Device", "options": "aggregatedValues", **DAY}, 400, "options"),
        ({**DAY}, 400, "type"),
        ({"type": "Device", "limit": 101, **DAY}, 403, "limit"),
        ({"type": "Device", "timerel": "before", "timeAt": "2026-11-02T00:00:00Z", "limit": 11}, 403, "limit"),
    ],
)
async def test_of_a_history_what_is_wrong_is_named(city: Client, query: dict[str, object], status: int, parameter: str):
    assert (await city.ask("temporal/entities", status, **query))["parameter"] == parameter


async def test_a_client_of_others_reads_it(store: StoreHandle, base: str):
    from ngsildclient import Client as NgsiClient
    from ngsildclient.api.exceptions import NgsiResourceNotFoundError
    from ngsildclient.api.helper.temporal import TemporalQuery

    def read() -> None:
        host, port = base.removeprefix("http://").split(":")
        with NgsiClient(host, int(port), custom_auth=("reader", store.reader_password), verbose=False) as client:
            assert client.types.list() == sorted(MODELS)
            devices = client.query(type="Device", limit=30)
            assert len({one.id for one in devices}) == len(devices) == 85
            (air,) = client.query(q="pm25<50")
            assert (air.type, air.to_dict()["pm25"]["value"]) == ("AirQualityObserved", 35.5)
            assert client.get("urn:ngsi-ld:AirQualityObserved:air-100").to_dict() == air.to_dict()
            assert client.exists("urn:ngsi-ld:Device:air-100")
            with pytest.raises(NgsiResourceNotFoundError):
                client.get("urn:ngsi-ld:Device:nowhere")
            span = TemporalQuery().between("2026-11-01T00:30:00Z", "2026-11-02T00:00:00Z")
            (history,) = client.temporal.query(eid=air.id, attrs=["pm25"], tq=span)
            assert [value for value, _ in history["pm25"]["values"]] == [0, 1, 2, *range(4, 20)]

    await asyncio.to_thread(read)
