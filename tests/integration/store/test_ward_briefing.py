"""The page of a ward, what people do about alarms by the command line, and the scores that follow."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.city_rollups import add_devices, add_metrics, add_type, add_wards, compute, compute_now, ms
from tests.support.cli import cityfleet
from tests.support.store import StoreHandle, running_store

DEPTH = 51
HERE, THERE = "00070", "00025"


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Iterator[StoreHandle]:
    """Water of an hour on two streets of two wards, and one that was dry again half an hour ago."""
    with running_store(tmp_path_factory.mktemp("briefing")) as store:
        add_metrics(store, {"street_flood_depth_mm": DEPTH})
        add_type(store, 1, "gauge-street", [DEPTH], 600)
        add_wards(store, {HERE: "Hoàn Kiếm", THERE: "Giảng Võ"})
        wards = {1: HERE, 2: THERE, 3: HERE}
        add_devices(
            store,
            (
                {"device_num": num, "device_id": f"sf-{num}", "device_type": "gauge-street", "ward_code": ward}
                for num, ward in wards.items()
            ),
        )
        since, wet, newest = now - timedelta(hours=1), now - timedelta(minutes=50), now - timedelta(minutes=1)
        dry = now - timedelta(minutes=30)
        floods = [(1, HERE, 350.0, newest, None), (2, THERE, 120.0, newest, None), (3, HERE, 60.0, dry, dry)]
        rows = "\n".join(
            json.dumps({
                "device_num": num, "onset_ts": f"{since:%F %T}", "first_wet_ts": f"{wet:%F %T}",
                "last_wet_ts": f"{last:%F %T}", "end_ts": None if end is None else f"{end:%F %T}", "ward_code": ward,
                "peak_ts": f"{wet:%F %T}", "max_depth_mm": depth, "last_depth_mm": depth, "last_ts": f"{last:%F %T}",
                "wet_n": 5, "good_n": 6, "version": 1,
            })
            for num, ward, depth, last, end in floods
        )  # fmt: skip
        store.query("INSERT INTO cityfleet.street_floods FORMAT JSONEachRow", "admin", data=rows.encode())
        compute_now(store, ("street_floods_now", "open_alarms", "open_alarms_now"))
        yield store


def alarm(store: StoreHandle, *arguments: str) -> tuple[int, str, str]:
    done = cityfleet(store.data_dir, "alarm", *arguments, CITYFLEET_STORE__LISTEN__PORT="0")
    return done.returncode, done.stdout, done.stderr


def briefing(store: StoreHandle) -> list[list[str]]:
    return store.rows(
        "SELECT ward_code, domain, severity, object_id, value, threshold, owner, acknowledged_at IS NOT NULL, status "
        "FROM ioc.ward_briefing ORDER BY severity DESC"
    )


def test_an_alarm_is_open_until_people_close_it_and_opens_again_when_taken_up(city: StoreHandle, now: datetime) -> None:
    first = [HERE, "street_flood", "3", "sf-1", "350", "300", "", "0", "open"]
    second = [THERE, "street_flood", "2", "sf-2", "120", "100", "", "0", "open"]
    assert briefing(city) == [first, second]
    at = f"{now - timedelta(minutes=40):%Y-%m-%dT%H:%M:%SZ}"
    code, out, err = alarm(
        city, "ack", "street_flood", "sf-1", "--owner", "Lan", "--by", "Minh", "--at", at, "-o", "json"
    )
    assert code == 0, err
    assert (json.loads(out)[0]["ward_code"], json.loads(out)[0]["who"]) == (HERE, "Minh")
    assert briefing(city)[0] == [*first[:6], "Lan", "1", "acknowledged"]
    at = f"{now - timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}"
    assert alarm(city, "false", "street_flood", "sf-1", "--at", at, "--note", "rác")[0] == 0
    assert briefing(city) == [second]
    found = city.rows("SELECT status, owner, note FROM ioc.open_alarms WHERE object_id = 'sf-1'")
    assert found == [["false_alarm", "Lan", "rác"]]
    # The newest action counts by the time it was done, not by the time it was written.
    at = f"{now - timedelta(minutes=35):%Y-%m-%dT%H:%M:%SZ}"
    assert alarm(city, "ack", "street_flood", "sf-1", "--at", at)[0] == 0
    assert briefing(city) == [second]


def test_an_alarm_that_is_over_can_be_closed(city: StoreHandle, now: datetime) -> None:
    at = f"{now - timedelta(minutes=20):%Y-%m-%dT%H:%M:%SZ}"
    code, _, err = alarm(city, "close", "street_flood", "sf-3", "--at", at)
    assert code == 0, err
    found = city.rows(
        "SELECT status, dateDiff('minute', since_ts, closed_at) FROM ioc.ward_alarms WHERE object_id = 'sf-3'"
    )
    assert found == [["closed", "40"]]


def test_what_is_no_alarm_is_refused(city: StoreHandle, now: datetime) -> None:
    written = city.rows("SELECT count() FROM cityfleet.alarm_actions")
    assert alarm(city, "ack", "street_flood", "sf-99")[0] == 3
    assert alarm(city, "ack", "street_flood", "sf-2", "--ward", HERE)[0] == 3
    early = f"{now - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    assert alarm(city, "ack", "street_flood", "sf-2", "--at", early)[0] == 2
    assert alarm(city, "ack", "weather", "sf-2")[0] == 2
    assert city.rows("SELECT count() FROM cityfleet.alarm_actions") == written


def test_a_wards_month_has_medians_shares_and_a_rank(city: StoreHandle, now: datetime) -> None:
    # Two days ago each device sent 144 promised readings, that of the other ward half of them.
    local = (now + timedelta(hours=7)).replace(hour=0, minute=0, second=0)
    day = local - timedelta(hours=7, days=2)
    city.query(
        "INSERT INTO cityfleet.readings_1d (metric_num, device_num, ts, ward_code, n, good_n, last_ts, version) "
        f"SELECT {DEPTH}, number + 1, '{day:%F %T}', '{HERE}', if(number = 1, 72, 144) AS n, n, '{day:%F %T}', 1 "
        "FROM numbers(3)",
        "admin",
    )
    compute(city, ("ward_days", "ward_scores"), ms(day), ms(now))
    begun = now - timedelta(hours=1)
    bounds = f"from = '{day - timedelta(days=1):%F %T}', to = '{now:%F %T}'"
    found = city.rows(
        "SELECT ward_code, alarms_n, acknowledged_n, tta_p50_min, ttc_p50_min, false_share, rank, wards_n "
        f"FROM ioc.ward_effectiveness({bounds}) "
        f"WHERE month = toStartOfMonth(toDate(toDateTime('{begun:%F %T}', 'UTC'), 'Asia/Ho_Chi_Minh')) "
        "ORDER BY ward_code"
    )
    # sf-1: 20 and 30 minutes, false; sf-3: 40 and 40, closed.
    assert found == [[THERE, "1", "0", "\\N", "\\N", "\\N", "2", "2"], [HERE, "2", "2", "30", "35", "0.5", "1", "2"]]
    days = city.rows(f"SELECT ward_code, received_n FROM cityfleet.ward_days FINAL WHERE ts = '{day:%F %T}'", "admin")
    assert sorted(days) == [[THERE, "72"], [HERE, "288"]]


def troubles(store: StoreHandle, domain: str) -> list[list[str]]:
    return store.rows(
        "SELECT ward_code, severity, object_id, title, value, threshold, unit, status FROM ioc.ward_briefing "
        f"WHERE domain = '{domain}' ORDER BY ward_code, object_id"
    )


def test_congestion_is_open_from_its_first_ten_minutes_until_it_flows(city: StoreHandle, now: datetime) -> None:
    steps = ("congested", "open_alarms_now")
    city.query(
        "INSERT INTO cityfleet.thresholds (scheme, parameter, level, high, valid_from, valid_to, source, version) "
        "SELECT 'los_hcm2010_urban', 'speed_ratio', 4 + number, [0.5, 0.4, 0.3][number + 1], '2000-01-01', "
        "'2149-06-06', 'HCM', 1 FROM numbers(3)",
        "admin",
    )

    def drive(minutes_ago: int, speeds: dict[str, tuple[str, float, float]]) -> None:
        levels = {name: 4 if speed > 20 else 5 if speed > 15 else 6 for name, (_, speed, _) in speeds.items()}
        at = now - timedelta(minutes=minutes_ago)
        rows = "\n".join(
            json.dumps({
                "ts": f"{at:%F %T}", "segment_id": name, "ward_code": ward, "speed_km_h": speed, "free_flow_km_h": 50,
                "los_scheme": "los_hcm2010_urban", "los": "ABCDEF"[levels[name] - 1], "los_level": levels[name],
                "speed_z": z, "n": 2, "good_n": 2, "expected_n": 4, "last_ts": f"{at:%F %T}", "version": 1,
            })
            for name, (ward, speed, z) in speeds.items()
        )  # fmt: skip
        city.query("INSERT INTO cityfleet.traffic_state_10min FORMAT JSONEachRow", "admin", data=rows.encode())

    drive(25, {"bridge": (HERE, 14.0, -1.0), "ring": (THERE, 30.0, 0.0), "quay": (HERE, 18.0, 0.0)})
    compute_now(city, steps)
    bridge = [HERE, "2", "bridge", "Ùn tắc, mức F: bridge", "14", "15", "km/h", "open"]
    quay = [HERE, "1", "quay", "Ùn tắc, mức E: quay", "18", "20", "km/h", "open"]
    assert troubles(city, "traffic") == [bridge, quay]
    first = f"{now - timedelta(minutes=25):%F %T}.000"
    drive(15, {"bridge": (HERE, 10.0, -3.5), "ring": (THERE, 30.0, 0.0), "quay": (HERE, 28.0, 0.0)})
    compute_now(city, steps)
    found = city.rows(
        "SELECT object_id, severity, since_ts, coverage, n FROM ioc.ward_briefing WHERE domain = 'traffic'"
    )
    assert found == [["bridge", "3", first, "0.5", "2"]]
    assert alarm(city, "close", "traffic", "bridge", "--ward", HERE)[0] == 0
    assert troubles(city, "traffic") == []
    # A run over a window of the past says nothing of now.
    compute(city, steps, ms(now - timedelta(days=2)), ms(now - timedelta(days=2)))
    found = city.rows("SELECT object_id, status FROM ioc.open_alarms WHERE domain = 'traffic'")
    assert found == [["bridge", "closed"]]


def test_devices_are_one_row_each_or_one_of_the_group_in_their_ward(city: StoreHandle, now: datetime) -> None:
    add_metrics(city, {"battery_pct": 52})
    add_type(city, 2, "lamp", [52], 3600)
    long_ago = f"{now - timedelta(days=30):%F %T}"
    alive = [(20 + num, "lamp", HERE, "") for num in range(12)]
    behind = [(40 + num, "lamp", THERE, "gw-1") for num in range(4)]
    others = [(60 + num, "lamp", THERE, "") for num in range(8)]
    # One of the own ward is silent, one has little battery; all four behind the gateway are silent. The devices come
    # after their readings, since the store's own pass may be between.
    ages = {num: 5 for num, *_ in alive + others} | {20: 20_000} | {num: 20_000 + num for num, *_ in behind}
    at = datetime.now(UTC)
    values = ", ".join(
        f"({num}, 52, '{THERE if num >= 40 else HERE}', {8 if num == 21 else 90}, 1, "
        f"'{at - timedelta(seconds=age):%F %T}', '{at:%F %T}')"
        for num, age in ages.items()
    )
    city.query(
        "INSERT INTO cityfleet.latest (device_num, metric_num, ward_code, value, quality, ts, received_at) "
        f"VALUES {values}",
        "admin",
    )
    add_devices(
        city,
        (
            {"device_num": num, "device_id": f"lamp-{num}", "device_type": kind, "ward_code": ward,
             "gateway_id": gateway, "expected_interval_s": 3600, "create_time": long_ago}
            for num, kind, ward, gateway in alive + behind + others
        ),
    )  # fmt: skip
    compute_now(city, ("fleet_now", "troubled_devices", "open_alarms_now"))
    found = [row for row in troubles(city, "devices") if not row[2].startswith("sf-")]
    assert [row[:4] for row in found] == [
        [THERE, "2", "gw-1", "Mất liên lạc: 4 thiết bị qua gw-1"],
        [HERE, "1", "lamp-20", "lamp-20: mất liên lạc"],
        [HERE, "1", "lamp-21", "lamp-21: pin yếu"],
    ]
    assert [row[5:7] for row in found] == [["\\N", "devices"], ["10800", "s"], ["30", "points"]]
    assert [float(found[at][4]) for at in (0, 2)] == [4, 35]
    since = city.rows("SELECT dateDiff('second', since_ts, now64(3)) FROM ioc.ward_briefing WHERE object_id = 'gw-1'")
    assert 20_041 - 10_800 <= int(since[0][0]) <= 20_042 - 10_800 + 600
    assert city.rows("SELECT DISTINCT coverage FROM ioc.ward_briefing WHERE domain = 'devices'") == [["1"]]
    assert alarm(city, "ack", "devices", "gw-1", "--owner", "Hà")[0] == 0
    asked = "SELECT status, owner, made_ms FROM cityfleet.open_alarms_now FINAL WHERE object_id = 'gw-1'"
    at_once = city.rows(asked, "admin")
    assert at_once[0][:2] == ["acknowledged", "Hà"]
    # The step says the same a minute later.
    compute_now(city, ("open_alarms_now",))
    assert city.rows(asked, "admin") == at_once
    assert [row[-1] for row in troubles(city, "devices") if row[2] == "gw-1"] == ["acknowledged"]
    # They are back.
    city.query(
        "INSERT INTO cityfleet.latest (device_num, metric_num, ward_code, value, quality, ts, received_at) "
        f"SELECT 40 + number, 52, '{THERE}', 90, 1, now64(3), now64(3) FROM numbers(4)",
        "admin",
    )
    compute_now(city, ("fleet_now", "troubled_devices", "open_alarms_now"))
    assert [row[2] for row in troubles(city, "devices") if not row[2].startswith("sf-")] == ["lamp-20", "lamp-21"]
