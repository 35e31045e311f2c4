"""Rain by ward: Beijing's storm of July 2016 at twelve stations, sums of 1 to 48 hours, days of the bulletins."""

import csv
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.city_rollups import (
    add_devices,
    add_metrics,
    add_readings,
    add_type,
    add_wards,
    compute,
    compute_now,
    ms,
)
from tests.support.store import StoreHandle, running_store
from tests.support.wards import Ward, account

DATA = Path(os.environ.get("CITYFLEET_DATA", Path(__file__).parents[4] / "shared" / "data"))
RAIN = 61
STEPS = ("readings_10min", "rain_10min", "rain_1h")
_WARD_MM = "SELECT * FROM ioc.ward_rain_{} ORDER BY ward_code"
HANOI = timezone(timedelta(hours=7))

Series = dict[datetime, Decimal]


@pytest.fixture(scope="module")
def wet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("rain")) as store:
        add_metrics(store, {"rain_mm": RAIN})
        add_type(store, 1, "gauge-rain-hourly", [RAIN], 3600)
        add_type(store, 2, "gauge-rain", [RAIN], 600)
        add_wards(store, {f"9{at:04}": f"Station {at}" for at in range(12)} | {"00070": "Hoàn Kiếm"})
        yield store


@pytest.fixture(scope="module")
def beijing(wet: StoreHandle) -> dict[str, Series]:
    """Hourly rain by ward, a ward for each station; the file's local hours are taken for hours at +07:00."""
    found: dict[str, Series] = {}
    path = DATA / "air_rain_beijing" / "PRSA_12stations_2016-07.csv"
    with path.open(newline="", encoding="ascii") as file:
        for row in csv.DictReader(file):
            if row["RAIN"] == "NA":
                continue
            hour = datetime(*(int(row[part]) for part in ("year", "month", "day", "hour")), tzinfo=HANOI)  # type: ignore[arg-type,misc]
            found.setdefault(row["station"], {})[hour] = Decimal(row["RAIN"])
    by_ward = {f"9{at:04}": found[station] for at, station in enumerate(sorted(found))}
    add_devices(
        wet,
        ({"device_num": 1 + int(ward[1:]), "device_id": f"rain-{ward}", "device_type": "gauge-rain-hourly",
          "ward_code": ward} for ward in by_ward),
    )  # fmt: skip
    add_readings(
        wet,
        ((1 + int(ward[1:]), RAIN, ms(hour), float(mm), 1, ward) for ward, series in by_ward.items()
         for hour, mm in series.items()),
    )  # fmt: skip
    compute(wet, STEPS, ms(datetime(2016, 6, 30, tzinfo=UTC)), ms(datetime(2016, 8, 1, tzinfo=UTC)))
    return by_ward


def sum_up_now(store: StoreHandle) -> None:
    compute_now(store, ("rain_now", "ward_rain"))


def total(series: Series, at: datetime, hours: int) -> Decimal:
    return sum((series.get(at - timedelta(hours=back), Decimal(0)) for back in range(1, hours + 1)), Decimal(0))


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="recorded data is not there (CITYFLEET_DATA)")


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("hour", [0, 5, 11, 12, 18, 23])
def test_sums_of_the_storm_are_those_of_the_file(wet: StoreHandle, beijing: dict[str, Series], hour: int) -> None:
    at = datetime(2016, 7, 20, hour, tzinfo=HANOI) + timedelta(days=1 if hour == 0 else 0)
    rows = wet.rows(
        "SELECT ward_code, r1_mm, r2_mm, r3_mm, r12_mm, r24_mm, r48_mm, since_07_mm, since_19_mm, class_24h, "
        "exceeds_50mm_2h, gauges_n, gauges_reporting "
        f"FROM ioc.ward_rain_at(at = '{at.astimezone(UTC):%F %T}') WHERE ward_code LIKE '9%'"
    )
    assert len(rows) == 12
    for row in rows:
        series = beijing[row[0]]
        expected = [total(series, at, hours) for hours in (1, 2, 3, 12, 24, 48)]
        expected += [total(series, at, (hour - 7) % 24), total(series, at, (hour - 19) % 24)]
        assert [float(value) for value in row[1:9]] == pytest.approx([float(value) for value in expected])
        of_day = float(expected[4])
        bounds = ((100, "mưa rất to"), (50, "mưa to"), (15.999, "mưa vừa"), (0.099, "mưa nhỏ"), (-1, ""))
        assert row[9] == next(name for bound, name in bounds if of_day > bound)
        assert row[10:] == ["true" if expected[1] >= 50 else "false", "1", "1"]


@pytest.mark.data
@needs_data
def test_the_storm_is_held_against_the_design_of_the_drainage(wet: StoreHandle, beijing: dict[str, Series]) -> None:
    rows = wet.rows(
        "SELECT ward_code, r48_max_mm, pct_of_310, window_start, window_end, n, coverage, gauge_id "
        "FROM ioc.storm_rain_48h_between(from = '2016-07-15 00:00:00', to = '2016-07-25 00:00:00')"
    )
    assert len(rows) == 12
    first, last = datetime(2016, 7, 15, tzinfo=UTC), datetime(2016, 7, 25, tzinfo=UTC)
    ends = [first + timedelta(hours=at) for at in range(1, int((last - first) / timedelta(hours=1)) + 1)]
    for ward, most, percent, start, end, n, coverage, gauge in rows:
        sums = {at: total(beijing[ward], at, 48) for at in ends}
        best = max(sums.values())
        earliest = next(at for at in ends if sums[at] == best)
        assert float(most) == pytest.approx(float(best))
        assert float(percent) == pytest.approx(float(best) / 3.1)
        assert end.startswith(f"{earliest:%F %T}")
        assert start.startswith(f"{earliest - timedelta(hours=48):%F %T}")
        assert (n, coverage, gauge) == ("48", "1", f"rain-{ward}")
    # Wanliu had 320.5 mm.
    assert max(float(row[2]) for row in rows) == pytest.approx(100 * 320.5 / 310)


def test_the_last_hours_come_from_ten_minutes_and_silence_is_not_dry(wet: StoreHandle) -> None:
    add_devices(
        wet,
        ({"device_num": num, "device_id": f"rain-{num}", "device_type": "gauge-rain", "ward_code": "00070"}
         for num in (201, 202)),
    )  # fmt: skip
    at = datetime(2025, 6, 1, 8, 35, tzinfo=UTC)
    # One gauge until 08:30 with 4 mm each time; the other had 1 mm each time and is silent since 06:40.
    first = datetime(2025, 5, 30, 0, 0, tzinfo=UTC)
    steps = [first + timedelta(minutes=10 * n) for n in range(400)]
    add_readings(wet, [(201, RAIN, ms(when), 4.0, 1, "00070") for when in steps if when < at])
    add_readings(wet, [(202, RAIN, ms(when), 1.0, 1, "00070") for when in steps if when < at - timedelta(minutes=115)])
    add_readings(wet, [(201, RAIN, ms(at - timedelta(minutes=3)), 99.0, 3, "00070")])
    compute(wet, STEPS, ms(first), ms(at))
    row = wet.rows(
        "SELECT r1_mm, r1_mean_mm, r2_mm, r3_mean_mm, r12_mm, r24_mm, r48_mm, gauges_n, gauges_reporting, "
        f"quality.suspect, as_of, exceeds_50mm_2h FROM ioc.ward_rain_at(at = '{at:%F %T}') WHERE ward_code = '00070'"
    )[0]
    # 08:30 is the running ten minutes: 7, 13, 19 ... of them are in a window.
    assert row[:2] == ["28", "28"]
    assert [float(value) for value in row[2:4]] == pytest.approx([13 * 4, (19 * 4 + 7) / 2])
    assert [float(value) for value in row[4:7]] == [73 * 4, 145 * 4, 289 * 4]
    assert row[7:] == ["2", "1", "1", "2025-06-01 08:30:00.000", "true"]
    row = wet.rows(
        "SELECT r1_mm, r24_mm, class_24h, gauges_reporting FROM ioc.ward_rain_at(at = '2025-06-02 08:00:00') "
        "WHERE ward_code = '00070'"
    )[0]
    assert (row[0], row[3]) == ("\\N", "0")
    sum_up_now(wet)
    assert wet.rows("SELECT count() FROM ioc.ward_rain_now WHERE ward_code = '00070'") == [["1"]]
    assert wet.rows("SELECT r48_max_mm FROM ioc.storm_rain_48h WHERE ward_code = '00070'") == [["\\N"]]


def test_what_is_kept_of_now_says_what_the_sums_of_now_say(wet: StoreHandle) -> None:
    now = datetime.now(UTC)
    add_devices(
        wet,
        ({"device_num": num, "device_id": f"rain-{num}", "device_type": "gauge-rain", "ward_code": "00071"}
         for num in (211, 212, 213)),
    )  # fmt: skip
    times = [now - timedelta(minutes=10 * n + 1) for n in range(300)]
    add_readings(wet, [(211, RAIN, ms(when), (n % 7) / 4, 1, "00071") for n, when in enumerate(times)])
    # One that was in another ward until ten hours ago, one that is silent since six; 214 stands nowhere now.
    add_readings(wet, [(212, RAIN, ms(when), 0.5, 1, "00072" if n > 60 else "00071") for n, when in enumerate(times)])
    add_readings(wet, [(213, RAIN, ms(when), 0.25, 1 + n % 2 * 2, "00071") for n, when in enumerate(times) if n > 36])
    add_readings(wet, [(214, RAIN, ms(when), 2.0, 1, "00073") for when in times])
    compute(wet, STEPS, ms(times[-1]), ms(now))
    sum_up_now(wet)
    at = wet.rows("SELECT max(t10) + 599 FROM cityfleet.rain_now")[0][0]
    found = wet.rows(_WARD_MM.format("now"))
    assert {"00071", "00073"} <= {row[0] for row in found}
    assert found == wet.rows(_WARD_MM.format(f"at(at = '{at}')"))


def test_sums_that_are_no_longer_made_are_not_taken_for_those_of_now(wet: StoreHandle) -> None:
    columns = "device_num, ward_code, device_id, t10, r1, n1, version"
    wet.query("TRUNCATE TABLE cityfleet.rain_now", "admin")
    wet.query(
        f"INSERT INTO cityfleet.rain_now ({columns}) SELECT 1000, '00074', 'old', now('UTC') - 3600, 5, 6, 1", "admin"
    )
    compute_now(wet, ("ward_rain",))
    assert len(wet.rows("SELECT * FROM ioc.storm_rain_48h")) == 1
    row = wet.rows("SELECT r1_mm, gauges_n, gauges_reporting FROM ioc.ward_rain_now WHERE ward_code = '00074'")[0]
    assert row == ["\\N", "1", "0"]


def test_without_a_gauge_there_is_no_rain_of_now(wet: StoreHandle) -> None:
    ward = Ward(wet, "ward_00071", account(wet, "ward_00071", "00071"))
    listed = "SELECT ward_code FROM ioc.ward_rain_now"
    add_wards(wet, {"00071": "Cửa Nam"})
    add_devices(
        wet,
        ({"device_num": 300 + at, "device_id": f"last-{at}", "device_type": "gauge-rain", "ward_code": f"0007{at}"}
         for at in (0, 1)),
    )  # fmt: skip
    sum_up_now(wet)
    assert ward.query(listed).split() == ["00071"]
    columns = "device_num, device_id, device_type, ward_code, state, version"
    for left in ("ward_code != '00071'", "false"):
        wet.query(
            f"INSERT INTO cityfleet.devices ({columns}) SELECT device_num, device_id, device_type, ward_code, "
            f"if({left}, state, 'deleted'), version + 1 FROM cityfleet.devices FINAL",
            "admin",
        )
        wet.query("TRUNCATE TABLE cityfleet.rain_10min", "admin")
        wet.query("TRUNCATE TABLE cityfleet.rain_1h", "admin")
        sum_up_now(wet)
        assert ward.query(listed) == ""
        assert (wet.rows(listed) != []) == (left != "false")
    assert wet.rows("SELECT ward_code FROM ioc.storm_rain_48h") == []
    # Of what never was nothing is written: the store may rest.
    compute_now(wet, ("river_now",))
    assert wet.rows("SELECT count() FROM cityfleet.river_now") == [["0"]]
