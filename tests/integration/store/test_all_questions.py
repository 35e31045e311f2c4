"""All 25 questions by their names, through the command, on one city in which something of everything happens."""

import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from cli.errors import CommandError
from cli.query_age import hold
from store.catalogue import View, catalogue
from store.rollup import step
from tests.support.city_rollups import add_devices, add_metrics, add_type, add_wards, compute_now, ms
from tests.support.cli import cityfleet
from tests.support.store import StoreHandle, running_store
from tests.support.wards import Ward, account

LEVEL, DEPTH, RAIN, SPEED, COUNT, PM, BATTERY = range(71, 78)
NAMES = {
    "water_level_m": LEVEL, "street_flood_depth_mm": DEPTH, "rain_mm": RAIN, "speed_km_h": SPEED,
    "vehicle_count": COUNT, "pm2_5_ug_m3": PM, "battery_pct": BATTERY,
}  # fmt: skip
OF_POST = set(NAMES.values()) - {LEVEL}
RIVER = 4
WARDS = {"00070": "Hoàn Kiếm", "00004": "Ba Đình"}
TEN_MINUTES = timedelta(minutes=10)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
QUESTIONS = [view for view in catalogue() if view.number]


def value(metric: int, device: int, ago: timedelta) -> float:
    """What a post measured so long ago: flooded thrice, jammed for three hours, in bad air; the river rises."""
    is_wet = ago < 4 * TEN_MINUTES or 29 * HOUR < ago < 30 * HOUR or 7 * DAY < ago < 7 * DAY + HOUR
    return {
        LEVEL: max(5.0, 7.6 - 0.2 * (ago / HOUR)),
        DEPTH: 150.0 if is_wet and device == 1 else 0.0,
        RAIN: 0.5,
        SPEED: 12.0 if ago < 3 * HOUR else 60.0 + ago // TEN_MINUTES % 3,
        COUNT: 100.0,
        PM: 160.0,
        BATTERY: 8.0 if device == 2 else 90.0,
    }[metric]


# By law, or since wards are ranked.
PUBLIC = {"river_levels_now", "river_forecast", "ward_alarms_now", "ward_effectiveness"}
OWN = "00070"


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("questions")) as store:
        now = datetime.now(UTC)
        add_metrics(store, NAMES)
        add_type(store, 1, "post", sorted(OF_POST), 600)
        # Days without a reading make the first one after them fail.
        tests = f'arrayMap(m -> if(m = {PM}, \'{{"gap_s":{{"suspect":1800,"fail":7200}}}}\', \'\'), metric_nums)'
        store.query(
            f"INSERT INTO cityfleet.device_types SELECT * REPLACE ({tests} AS metric_tests, 2 AS version) "
            "FROM cityfleet.device_types",
            "admin",
        )
        add_type(store, 2, "gateway", [], 0)
        add_type(store, 3, "gauge-river", [LEVEL], 600)
        add_wards(store, WARDS)
        created = f"{now - 10 * DAY:%F %T}"
        wards = {1: "00070", 2: "00004", 3: "00070", RIVER: "00070"}
        posts = [
            {"device_num": num, "device_id": f"post-{num}", "ward_code": ward,
             "device_type": "gauge-river" if num == RIVER else "post",
             "site_id": f"s-{num}", "gateway_id": "gw", "latitude": 21.03, "longitude": 105.85,
             "expected_interval_s": 600, "create_time": created,
             "labels": {"station": "vinh-phuc"} if num == RIVER else {}}
            for num, ward in wards.items()
        ]  # fmt: skip
        gateway = {"device_num": 9, "device_id": "gw", "device_type": "gateway", "ward_code": "00070"}
        add_devices(store, [*posts, {**gateway, "create_time": created}])
        # Two days up to now, and those around this hour a week ago; the third post is silent for five hours.
        ages = [timedelta(minutes=1) + n * TEN_MINUTES for n in range(8 * 144)]
        lines = "".join(
            f"{device}\t{metric}\t{now - ago:%F %T}\t{value(metric, device, ago)}\t1\t0\t{ward}\t"
            f"{now - ago + timedelta(seconds=2):%F %T}\n"
            for ago in ages
            if ago < 2 * DAY or ago > 6.5 * DAY
            for device, ward in wards.items()
            if device != 3 or ago > 5 * HOUR
            for metric in ([LEVEL] if device == RIVER else OF_POST)
        )
        store.query("INSERT INTO cityfleet.readings FORMAT TSV", "writer", data=lines.encode())
        store.query(
            "INSERT INTO cityfleet.latest (device_num, metric_num, ts, value, quality, ward_code, received_at) "
            "SELECT device_num, metric_num, ts, value, quality, ward_code, received_at FROM cityfleet.readings "
            "ORDER BY ts DESC LIMIT 1 BY device_num, metric_num",
            "writer",
        )
        compute_now(store, [one.name for one in step.load()], ms(now - 8 * DAY))
        yield store


@pytest.fixture(scope="module")
def ward(city: StoreHandle) -> Ward:
    return Ward(city, "ward_own", account(city, "ward_own", OWN))


def ask(city: StoreHandle, view: str, *options: str) -> "subprocess.CompletedProcess[str]":
    given = {name for name, _ in next(one for one in QUESTIONS if one.name == view).parameters}
    period = ["--from", "9d"] if "from" in given else ["-p", "at=0s"] if "at" in given else []
    return query(city, view, *period, *options)


def query(city: StoreHandle, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return cityfleet(city.data_dir, "query", *arguments, CITYFLEET_STORE__LISTEN__PORT="0")


def test_there_are_25() -> None:
    assert {view.number for view in QUESTIONS} == set(range(1, 26))


@pytest.mark.parametrize("view", QUESTIONS, ids=lambda view: f"{view.number}-{view.name}")
def test_question_is_answered_with_what_it_rests_on(city: StoreHandle, view: View) -> None:
    answer = ask(city, view.name, "-o", "json", "--max-age", "60d")
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)["data"]
    assert rows
    for row in rows:
        assert row["as_of"]
        assert row["method"]
        assert 0 <= float(row["coverage"]) <= 1
        assert set(row["quality"]) == {"good", "suspect", "fail"}


@pytest.mark.parametrize("view", QUESTIONS, ids=lambda view: view.name)
def test_a_ward_is_told_of_itself_and_what_is_public(city: StoreHandle, ward: Ward, view: View) -> None:
    times = {"from": "now('UTC') - INTERVAL 9 DAY", "to": "now('UTC')", "at": "now('UTC')"}
    given = ", ".join(f"{name} = {times[name]}" for name, _ in view.parameters)
    asked = f"SELECT DISTINCT ward_code FROM ioc.{view.name}" + (f"({given})" if given else "")
    found = set(ward.query(asked).split())
    if view.name in PUBLIC:
        assert found == set(city.query(asked).split())
    else:
        assert found == {OWN}


def test_an_answer_that_is_too_old_is_an_error_that_says_as_of(city: StoreHandle) -> None:
    fresh = ask(city, "river_levels_now", "-o", "csv", "--max-age", "1h")
    assert fresh.returncode == 0, fresh.stderr
    old = ask(city, "river_levels_now", "-o", "csv", "--max-age", "1s")
    as_of = city.query("SELECT max(as_of) FROM ioc.river_levels_now").replace(" ", "T")[:19]
    assert (old.returncode, old.stdout) == (1, "")
    assert f"river_levels_now is older than 1s: as_of is {as_of}Z" in old.stderr
    assert "doctor" in old.stderr
    # Readings come in, but none that this answer rests on.
    past = ask(city, "street_flood_events", "--max-age", "2h")
    assert past.returncode == 1
    assert "rollup status" in past.stderr


def test_an_empty_answer_is_held_to_the_newest_reading_of_all(city: StoreHandle) -> None:
    nowhere = ("--ward", "00099", "-o", "csv")
    assert ask(city, "congestion_now", *nowhere, "--max-age", "1h").returncode == 0
    old = ask(city, "congestion_now", *nowhere, "--max-age", "1s")
    assert old.returncode == 1
    assert "it is empty, and the newest reading of all is of" in old.stderr


def test_a_ward_may_ask_how_old_an_answer_is(city: StoreHandle) -> None:
    login = ("ward_age", account(city, "ward_age", OWN))
    view = next(one for one in QUESTIONS if one.name == "congestion_now")
    hold(city.url, login, view, "SELECT * FROM ioc.congestion_now", "1h")
    with pytest.raises(CommandError, match="as_of is 2"):
        hold(city.url, login, view, "SELECT * FROM ioc.congestion_now", "1s")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("river_levels_now", "--max-age", "soon"), "no length of time"),
        (("devices", "--max-age", "1h"), "no as_of"),
        (("SELECT 1", "--max-age", "1h"), "go with a name"),
    ],
)
def test_an_age_that_cannot_be_asked_for_is_refused(city: StoreHandle, asked: tuple[str, ...], told: str) -> None:
    answer = query(city, *asked)
    assert answer.returncode == 2
    assert told in answer.stderr


OF_NOW = [one for one in step.load() if one.replaces_all]


@pytest.mark.parametrize("one", OF_NOW, ids=lambda one: one.name)
def test_a_table_of_now_has_a_twin_in_which_the_next_run_is_written(city: StoreHandle, one: step.Step) -> None:
    columns = "SELECT name, type FROM system.columns WHERE database || '.' || table = '{}' ORDER BY position"
    assert city.rows(columns.format(one.target)) == city.rows(columns.format(f"{one.target}_next"))


def test_whoever_asks_while_runs_are_made_sees_one_of_them(city: StoreHandle) -> None:
    targets = {one.target for one in OF_NOW if city.rows(f"SELECT count() FROM {one.target}") != [["0"]]}
    assert {"cityfleet.river_now", "cityfleet.fleet_now", "cityfleet.ward_rain_now"} <= targets
    seen: dict[str, set[str]] = {target: set() for target in targets}
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            for target in sorted(targets):
                versions = city.rows(f"SELECT count(DISTINCT version), max(version) FROM {target}")[0]
                seen[target].add(versions[1] if versions[0] == "1" else f"{versions[0]} at once")

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for _ in range(3):
            compute_now(city, [one.name for one in OF_NOW if one.target in targets])
        is_over.set()
        looking.result()
    assert not [found for found in seen.items() if any("at once" in version for version in found[1])]
    assert len(seen["cityfleet.river_now"]) > 1


def test_a_run_of_before_the_clock_was_set_back_does_not_stay(city: StoreHandle) -> None:
    ahead = "SELECT * REPLACE (version + 3600000 AS version) FROM cityfleet.river_now"
    city.query("TRUNCATE TABLE cityfleet.river_now_next", "admin")
    city.query(f"INSERT INTO cityfleet.river_now_next {ahead}", "admin")
    city.query("ALTER TABLE cityfleet.river_now REPLACE PARTITION tuple() FROM cityfleet.river_now_next", "admin")
    gauges = city.rows("SELECT count() FROM ioc.river_levels_now")
    compute_now(city, ("river_now",))
    assert city.rows("SELECT count() FROM ioc.river_levels_now") == gauges != [["0"]]
    assert city.rows("SELECT max(version) <= toUnixTimestamp64Milli(now64(3)) FROM cityfleet.river_now") == [["1"]]


def test_an_empty_answer_is_old_where_nothing_is_computed(city: StoreHandle) -> None:
    city.query("TRUNCATE TABLE cityfleet.fleet_now", "admin")
    city.query("INSERT INTO cityfleet.fleet_now (version) VALUES (1700000000000)", "admin")
    old = ask(city, "congestion_now", "--ward", "00099", "--max-age", "1h")
    assert old.returncode == 1
    assert "it is empty, and what follows from readings is as of 2023-11-14" in old.stderr
    assert "rollup status" in old.stderr
