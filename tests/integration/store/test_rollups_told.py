"""What a step took away in a run that broke off, or in a look at the open window, goes from what follows too."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from store.rollup import step
from store.rollup.runner import Runner, StepFailedError
from tests.support.city_rollups import Ask, add_devices, add_metrics, add_readings, add_type, add_wards, compute, ms
from tests.support.store import StoreHandle, running_store

DEPTH, RAIN = 51, 52
MINUTE = 60_000
# Rain by ten minutes, which street_flood_rain follows from too, is computed before: it would make the same windows due.
NAMES = ("readings_10min", "street_floods", "street_flood_rain")
STEPS = [one for one in step.load() if one.name in NAMES]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    with running_store(tmp_path_factory.mktemp("told")) as running:
        add_metrics(running, {"street_flood_depth_mm": DEPTH, "rain_mm": RAIN})
        add_type(running, 1, "gauge-street", [DEPTH], 60)
        add_type(running, 2, "gauge-rain", [RAIN], 600)
        add_wards(running, {"00070": "Hoàn Kiếm"})
        place = {"ward_code": "00070", "latitude": 21.03, "longitude": 105.85}
        add_devices(
            running,
            [
                {"device_num": num, "device_id": f"gauge-{num}", "device_type": kind, **place}
                for num, kind in ((1, "gauge-street"), (2, "gauge-street"), (3, "gauge-street"), (9, "gauge-rain"))
            ],
        )
        yield running


class BreaksOff:
    """Passes statements on, but for what makes due what follows from floods, as long as `is_broken`."""

    def __init__(self, store: StoreHandle) -> None:
        self._ask = Ask(store)
        self.is_broken = True

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        if self.is_broken and sql.startswith("INSERT INTO cityfleet.rollup_changes") and "'street_flood_rain'" in sql:
            raise OSError("broken off")
        return self._ask(sql, params)


def runner(store: StoreHandle) -> Runner:
    return Runner(Ask(store), STEPS, grace_s=0, settle_s=0)


def run_all(computed: Runner) -> None:
    while computed.run().cells:
        pass


def onsets(store: StoreHandle, table: str, device: int) -> list[int]:
    rows = store.rows(
        f"SELECT DISTINCT toUnixTimestamp64Milli(onset_ts) AS at FROM cityfleet.{table} FINAL "
        f"WHERE device_num = {device} ORDER BY at",
        "admin",
    )
    return [int(row[0]) for row in rows]


def add_two_events(store: StoreHandle, device: int, start: int) -> None:
    """Joined by water 120 minutes after the start. What follows from the first reaches not as far as the second."""
    depths = {0: 0, 5: 40, 35: 40, 65: 60, 95: 40, 100: 0, 122: 0, 135: 0, 140: 50, 145: 70, 150: 0}
    rain = [(9, RAIN, start + at * MINUTE, 1.0, 1, "00070") for at in range(-120, 160, 10)]
    add_readings(store, [(device, DEPTH, start + at * MINUTE, mm, 1, "00070") for at, mm in depths.items()] + rain)
    compute(store, ("rain_10min",), start - 120 * MINUTE, start + 160 * MINUTE)


@pytest.mark.parametrize(("device", "is_killed"), [(1, True), (3, False)])
def test_what_a_run_that_broke_off_took_away_is_taken_out_of_what_follows(
    store: StoreHandle, device: int, is_killed: bool
) -> None:
    start = ms(datetime(2025, 9, 30, 1, 0, tzinfo=UTC))
    add_two_events(store, device, start)
    run_all(runner(store))
    for table in ("street_floods", "street_flood_rain"):
        assert onsets(store, table, device) == [start, start + 135 * MINUTE]
    add_readings(store, [(device, DEPTH, start + 120 * MINUTE, 20, 1, "00070")])
    ask = BreaksOff(store)
    computed = Runner(ask, STEPS, grace_s=0, settle_s=0)
    with pytest.raises(StepFailedError, match="broken off"):
        computed.run()
    assert onsets(store, "street_floods", device) == [start]
    ask.is_broken = False
    run_all(runner(store) if is_killed else computed)
    assert onsets(store, "street_flood_rain", device) == [start]


def test_what_a_look_at_the_open_window_took_away_is_taken_out_of_what_follows(store: StoreHandle) -> None:
    now = datetime.now(UTC)
    start = ms((now - timedelta(minutes=175)).replace(second=0, microsecond=0))
    add_two_events(store, 2, start)
    run_all(runner(store))
    assert onsets(store, "street_flood_rain", 2) == [start, start + 135 * MINUTE]
    # Windows that were computed are not computed again so soon, but the open one is looked at.
    add_readings(store, [(2, DEPTH, start + 120 * MINUTE, 20, 1, "00070")])
    open_now = Runner(Ask(store), STEPS, grace_s=0, settle_s=0, late_s=3600)
    open_now.run()
    assert onsets(store, "street_floods", 2) == [start]
    run_all(runner(store))
    assert onsets(store, "street_flood_rain", 2) == [start]
