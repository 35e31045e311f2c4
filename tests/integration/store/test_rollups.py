"""Rollups say what the readings say: whatever the order, the delay and the copies, and after kill -9 in a run."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from store.migrate import Ask
from store.rollup import ledger, step
from store.rollup.ledger import Clock
from store.rollup.runner import Runner, StepFailedError
from store.rollup.schedule import Lease
from tests.support.cli import cityfleet
from tests.support.store import StoreHandle, running_store

_OFTEN = {
    "CITYFLEET_STORE__ROLLUP__ENABLED": "true",
    "CITYFLEET_STORE__ROLLUP__EVERY_S": "0.1",
    "CITYFLEET_STORE__ROLLUP__LATE_S": "0",
}
_BEGIN_MS = 1_764_500_000_000  # 2025-11-30T10:53:20Z: what follows crosses days, a week, a month
_TABLES = ("readings_10min", "readings_1h", "readings_1d")
_OWN = [one for one in step.load() if one.name in _TABLES]
Reading = tuple[int, int, int, float, int, str]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    """A store that computes nothing by itself."""
    with running_store(tmp_path_factory.mktemp("rollups")) as running:
        yield running


def asker(store: StoreHandle) -> Ask:
    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        named = {f"param_{name}": value for name, value in (params or {}).items()}
        return store.query(sql, "admin", **named).rstrip("\n")

    return ask


def runner(store: StoreHandle) -> Runner:
    return Runner(asker(store), _OWN, grace_s=0, settle_s=0, abreast=2)


class Watched:
    """Passes statements on; knows how many inserts into readings_10min run at once.

    Args:
        waits: the first of them waits until a second has begun.
        breaks: of these numbers of the first device the first insert is refused.
    """

    def __init__(self, store: StoreHandle, *, waits: bool = False, breaks: str = "") -> None:
        self._ask = asker(store)
        self._lock = threading.Lock()
        self._is_second = threading.Event()
        self._waits = waits
        self._breaks = breaks
        self._running = 0
        self.most = 0

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str:
        if not sql.startswith("INSERT INTO cityfleet.readings_10min"):
            return self._ask(sql, params)
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
            if self._running == 2:
                self._is_second.set()
            is_broken = params is not None and params["device_from"] == self._breaks
            if is_broken:
                self._breaks = ""
        try:
            if self._waits:
                assert self._is_second.wait(60)
            if is_broken:
                raise OSError("broken off")
            return self._ask(sql, params)
        finally:
            with self._lock:
                self._running -= 1


def test_two_windows_of_a_backlog_run_at_once(still: StoreHandle) -> None:
    rows = [row for row in readings(0, 1000) if row[2] < _BEGIN_MS + 6 * 3_600_000]
    # Windows hold 65,536 devices at most.
    for first_device, abreast in ((100_000, 2), (300_000, 1)):
        insert(still, [(first_device + row[0], *row[1:]) for row in rows])
        insert(still, [(first_device + 80_000 + row[0], *row[1:]) for row in rows])
        ask = Watched(still, waits=abreast == 2)
        Runner(ask, _OWN, grace_s=0, settle_s=0, abreast=abreast).run()
        assert ask.most == abreast
        for device in (first_device, first_device + 80_000):
            for table, bucket in _BUCKETS.items():
                assert rollups(still, table, device) == from_readings(still, bucket, device)


def test_what_follows_is_computed_once_where_all_is_seen_at_once(still: StoreHandle) -> None:
    insert(still, readings(820_000, 50))
    noted = "SELECT max(changed_at) > now64(3) - INTERVAL 3 SECOND FROM cityfleet.rollup_changes"
    until(lambda: still.rows(noted, "admin") == [["0"]] or still.rows(noted, "admin") == [["false"]])
    computed = Runner(asker(still), _OWN, grace_s=0, settle_s=3, is_alone=True)
    assert computed.run().cells > 0
    assert computed.run().cells == 0
    for table, bucket in _BUCKETS.items():
        assert rollups(still, table, 820_000) == from_readings(still, bucket, 820_000)


def test_what_is_new_is_computed_one_window_after_the_other(still: StoreHandle) -> None:
    for device in (500_000, 600_000):
        insert(still, [(device, 1, _BEGIN_MS, 1, 1, "00004")])
    ask = Watched(still)
    assert Runner(ask, _OWN, grace_s=0, settle_s=0, abreast=2).run().windows >= 6
    assert ask.most == 1


@pytest.mark.parametrize(("broken", "other"), [(700_160, 800_000), (1_000_192, 900_096)])
def test_a_window_beside_one_that_breaks_off_is_done(still: StoreHandle, broken: int, other: int) -> None:
    rows = [row for row in readings(0, 300) if row[2] < _BEGIN_MS + 6 * 3_600_000]
    for device in (broken, other):
        insert(still, [(device + row[0], *row[1:]) for row in rows])
    computed = Runner(Watched(still, waits=True, breaks=str(broken)), _OWN, grace_s=0, settle_s=0, abreast=2)
    with pytest.raises(StepFailedError, match="broken off"):
        computed.run()
    done = still.rows(
        "SELECT DISTINCT block * 256 FROM cityfleet.rollup_done WHERE step = 'readings_10min' "
        f"AND block IN ({broken // 256}, {other // 256})"
    )
    assert done == [[str(other)]]
    while computed.run().cells:
        pass
    for device in (broken, other):
        for table, bucket in _BUCKETS.items():
            assert rollups(still, table, device) == from_readings(still, bucket, device)


def readings(first_device: int, count: int) -> list[Reading]:
    """Of ten devices and two metrics over two days, of every quality; values whose sums are exact."""
    found = []
    chance = random.Random(7)
    for _ in range(count):
        at_ms = _BEGIN_MS + chance.randrange(0, 2 * 86_400_000, 250)
        quality = chance.choice((1, 1, 1, 2, 3, 4))
        device, metric, value = chance.randrange(10), chance.randrange(1, 3), chance.randrange(-100, 100) / 4
        found.append((first_device + device, metric, at_ms, value, quality, "00004"))
    return list({row[:3]: row for row in found}.values())


def insert(store: StoreHandle, rows: list[Reading], received: str = "2025-12-03 00:00:00") -> None:
    values = ", ".join(
        f"({device}, {metric}, {at_ms / 1000:.3f}, {value}, {quality}, 0, '{ward}', '{received}')"
        for device, metric, at_ms, value, quality, ward in rows
    )
    store.query(f"INSERT INTO cityfleet.readings VALUES {values}", "admin")


def rollups(store: StoreHandle, table: str, first_device: int) -> list[list[str]]:
    return store.rows(
        f"SELECT metric_num, device_num - {first_device}, ts, ward_code, n, good_n, suspect_n, fail_n, sum, min, max, "
        f"last, last_ts FROM cityfleet.{table} FINAL WHERE device_num BETWEEN {first_device} AND {first_device + 9} "
        "ORDER BY ALL"
    )


def from_readings(store: StoreHandle, bucket: str, first_device: int) -> list[list[str]]:
    """What the rollup must say, by other means."""
    return store.rows(
        f"SELECT metric_num, device_num - {first_device}, {bucket} AS b, ward_code, count(), countIf(quality = 1), "
        "countIf(quality = 3), countIf(quality = 4), sumIf(value, quality = 1), "
        "if(countIf(quality = 1) = 0, nan, minIf(value, quality = 1)), "
        "if(countIf(quality = 1) = 0, nan, maxIf(value, quality = 1)), "
        "if(countIf(quality = 1) = 0, nan, argMaxIf(value, r.ts, quality = 1)), maxIf(r.ts, quality = 1) FROM "
        "(SELECT * FROM cityfleet.readings ORDER BY received_at DESC LIMIT 1 BY device_num, metric_num, ts) AS r "
        f"WHERE device_num BETWEEN {first_device} AND {first_device + 9} "
        "GROUP BY metric_num, device_num, b, ward_code ORDER BY ALL"
    )


_BUCKETS = {
    "readings_10min": "toStartOfTenMinutes(toDateTime(r.ts, 'UTC'))",
    "readings_1h": "toStartOfHour(toDateTime(r.ts, 'UTC'))",
    "readings_1d": "toDateTime(toStartOfDay(r.ts, 'Asia/Ho_Chi_Minh'), 'UTC')",
}


def test_the_same_readings_in_any_order_and_late_give_the_same_rollups(still: StoreHandle) -> None:
    computed = runner(still)
    rows = readings(100, 2000)
    insert(still, sorted(rows, key=lambda row: row[2]))
    computed.run()
    # Others of the same, shuffled, in parts with a run after each, and a third of them twice.
    again = [(row[0] + 5000, *row[1:]) for row in rows]
    random.Random(8).shuffle(again)
    for at in range(0, len(again), 1000):
        insert(still, again[at : at + 1000] + again[: at // 3])
        computed.run()
    for table, bucket in _BUCKETS.items():
        found = rollups(still, table, 100)
        assert found
        assert found == rollups(still, table, 5100)
        assert found == from_readings(still, bucket, 100)
    assert computed.run().cells == 0


def test_a_backlog_that_takes_many_passes_is_caught_up_with_each_hour_once(
    still: StoreHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.rollup.runner._TURN_S", 0.0)
    monkeypatch.setattr("store.rollup.runner._ROWS", 60)
    rows = [row for row in readings(20_000, 600) if row[2] < _BEGIN_MS + 4 * 3_600_000]
    insert(still, rows + [(row[0] + 256, *row[1:]) for row in rows])
    before = still.rows("SELECT now64(3)")[0][0]
    computed = runner(still)
    passes = 0
    while computed.run().cells:
        passes += 1
    assert passes > 2
    for first_device in (20_000, 20_256):
        for table, bucket in _BUCKETS.items():
            assert rollups(still, table, first_device) == from_readings(still, bucket, first_device)
    twice = still.rows(
        "SELECT bucket, block FROM cityfleet.rollup_done WHERE step = 'readings_1h' AND computed_at > "
        f"toDateTime64('{before}', 3) GROUP BY bucket, block HAVING count() > 1"
    )
    assert twice == []


def test_a_later_copy_in_another_ward_takes_the_row_of_the_first_away(still: StoreHandle) -> None:
    computed = runner(still)
    insert(still, [(9000, 1, _BEGIN_MS, 5, 1, "00004"), (9000, 1, _BEGIN_MS + 7_200_000, 6, 1, "00004")])
    computed.run()
    insert(still, [(9000, 1, _BEGIN_MS, 5, 1, "00008")], received="2025-12-04 00:00:00")
    computed.run()
    for table, bucket in _BUCKETS.items():
        assert rollups(still, table, 9000) == from_readings(still, bucket, 9000)


def test_one_look_at_all_steps_finds_what_looks_at_each_do(still: StoreHandle) -> None:
    ask = asker(still)
    insert(still, [(row[0], row[1], row[2] + 200 * 86_400_000, *row[3:]) for row in readings(12_000, 50)])
    ledger.note_changes(
        ask, {"readings_1h": [(1_764_500_400, 3), (1_764_504_000, 4)], "readings_1d": [(1_764_435_600, 5)]}
    )
    hour_ago_ms = int((time.time() - 3600) * 1000)
    for now_s in (time.time(), 1_764_507_600, 1_764_400_000):
        clock = Clock(int(now_s * 1000), grace_s=0, settle_s=0)
        each = {one.name: ledger.due(ask, one, clock, hour_ago_ms) for one in _OWN}
        assert any(each.values()) == (now_s > 1_764_400_000)
        assert each == ledger.due_of_all(ask, _OWN, clock, hour_ago_ms)
        assert each == {one.name: ledger.due(ask, one, clock, None) for one in _OWN}
    computed = runner(still)
    computed.run()
    computed.run()
    nothing = {one.name: [] for one in _OWN}
    assert ledger.due_of_all(ask, _OWN, Clock(int(time.time() * 1000), 0, 0), hour_ago_ms) == nothing


def test_what_changed_before_its_window_ended_becomes_due_as_it_ends(still: StoreHandle) -> None:
    ask = asker(still)
    step = next(one for one in _OWN if one.name == "readings_1h")
    begin_s = int(time.time()) // 3600 * 3600 - 3600
    ended_ms = (begin_s + 3600) * 1000
    clock = Clock(ended_ms + 60_000, grace_s=0, settle_s=0)
    ask(
        "INSERT INTO cityfleet.rollup_changes (source, bucket, block, rows, changed_at) "
        f"VALUES ('readings_1h', {begin_s}, 7, 1, {begin_s - 3 * 86_400})"
    )
    for since_ms, found in ((ended_ms, [begin_s]), (ended_ms + 2000, [])):
        assert [cell.bucket for cell in ledger.due(ask, step, clock, since_ms)] == found
        assert [cell.bucket for cell in ledger.due_of_all(ask, [step], clock, since_ms)["readings_1h"]] == found
    before = Clock(ended_ms - 1000, grace_s=0, settle_s=0)
    assert ledger.due(ask, step, before, ended_ms - 60_000) == []


def test_a_step_of_which_much_has_changed_is_asked_by_itself(still: StoreHandle) -> None:
    ask = asker(still)
    begin_s, hours = 1_756_684_800, 1000
    computed = runner(still)
    computed.run()
    days = [(begin_s - 7 * 3600 - 86_400 * day, 9) for day in range(900)]
    ledger.note_changes(
        ask, {"readings_1h": [(begin_s + 3600 * hour, 9) for hour in range(hours)], "readings_1d": days}
    )
    clock = Clock(int((time.time() + 60) * 1000), grace_s=0, settle_s=0)
    together = ledger.due_of_all(ask, _OWN, clock, int((time.time() - 60) * 1000))
    assert together.keys() == {one.name for one in _OWN} - {"readings_1h"}
    assert len(together["readings_1d"]) == 900
    computed.run()
    done = still.rows(
        "SELECT uniqExact(bucket) FROM cityfleet.rollup_done WHERE step = 'readings_1h' AND block = 9 "
        f"AND bucket BETWEEN {begin_s} AND {begin_s + 3600 * (hours - 1)}"
    )
    assert done == [[str(hours)]]


def test_an_open_window_waits_and_live_metrics_do_not(still: StoreHandle) -> None:
    still.query(
        "INSERT INTO cityfleet.metrics (metric_num, metric, version) VALUES (77, 'rain_mm', 1), (78, 'battery_pct', 1)",
        "admin",
    )
    still.query(
        "INSERT INTO cityfleet.device_types (type_num, device_type, metric_nums, version) "
        "VALUES (7, 'gauge', [77, 78], 1)",
        "admin",
    )
    still.query("INSERT INTO cityfleet.devices (device_num, device_type, version) VALUES (9500, 'gauge', 1)", "admin")
    still.query(
        "INSERT INTO cityfleet.readings SELECT 9500, arrayJoin([77, 78]), now64(3), 1, 1, 0, '00004', now64(3)", "admin"
    )
    computed = Runner(asker(still), _OWN, grace_s=0, settle_s=0)
    computed.run()
    seen = still.rows("SELECT metric_num, n FROM cityfleet.readings_10min FINAL WHERE device_num = 9500")
    assert seen == [["77", "1"]] or not seen  # the ten minutes ended between the two


def test_windows_of_before_the_retention_are_left_as_they_are(still: StoreHandle) -> None:
    insert(still, [(9600, 1, 1_700_000_000_000, 5, 1, "00004")])
    Runner(asker(still), _OWN, grace_s=0, settle_s=0, readings_kept_s=400 * 86_400).run()
    assert rollups(still, "readings_10min", 9600) == []
    # Nor are they due any more, should the readings be kept for longer one day.
    runner(still).run()
    assert rollups(still, "readings_10min", 9600) == []


def test_a_step_that_fails_holds_up_no_other_and_is_tried_again(still: StoreHandle) -> None:
    ten, hour, day = _OWN
    sql = ten.sql.replace("FROM cityfleet", "FROM nowhere")
    broken = msgspec.structs.replace(ten, name="broken", target="cityfleet.rain_1h", sql=sql)
    computed = Runner(asker(still), [broken, ten, hour, day], grace_s=0, settle_s=0)
    rows = [row for row in readings(40_000, 200) if row[2] < _BEGIN_MS + 4 * 3_600_000]
    insert(still, rows)
    for _ in range(2):
        with pytest.raises(StepFailedError, match=r"^broken: .*nowhere"):
            computed.run()
    for table, bucket in _BUCKETS.items():
        assert rollups(still, table, 40_000) == from_readings(still, bucket, 40_000)


def test_only_one_of_several_has_the_lease(still: StoreHandle) -> None:
    first, second = Lease(asker(still)), Lease(asker(still))
    assert first.hold()
    assert not second.hold()
    assert first.hold()


def test_a_rebuild_by_command_puts_right_what_was_wrong(tmp_path: Path) -> None:
    with running_store(tmp_path, **_OFTEN) as store:
        port = {"CITYFLEET_STORE__LISTEN__PORT": str(store.port)}
        rows = readings(100, 300)
        insert(store, rows)
        until(lambda: rollups(store, "readings_1d", 100) == from_readings(store, _BUCKETS["readings_1d"], 100))
        store.query("TRUNCATE TABLE cityfleet.readings_10min", "admin")
        store.query("TRUNCATE TABLE cityfleet.readings_1h", "admin")
        said = cityfleet(
            store.data_dir, "store", "rollup", "rebuild", "--from", "2025-11-30", "--to", "2025-12-03", **port
        )
        assert "Done" in said.stdout, said.stderr
        until(lambda: rollups(store, "readings_1h", 100) == from_readings(store, _BUCKETS["readings_1h"], 100))
        status = cityfleet(store.data_dir, "store", "rollup", "status", "-o", "json", **port).stdout
        assert '"readings_1d"' in status


def test_rollups_are_right_after_kill_9_in_a_run(tmp_path: Path) -> None:
    with running_store(tmp_path, **_OFTEN) as store:
        rows = readings(100, 3000)
        chance = random.Random(9)
        for at in range(0, len(rows), 1000):
            insert(store, rows[at : at + 1000])
            # Far enough for a second window, which runs beside the first.
            insert(store, [(row[0] + 80_000, *row[1:]) for row in rows[at : at + 1000]])
            time.sleep(chance.uniform(0.1, 1.0))
            store.kill()
            store.start(120)
        for first_device in (100, 80_100):
            for table, bucket in _BUCKETS.items():
                until(
                    lambda table=table, bucket=bucket, first=first_device: (
                        rollups(store, table, first) == from_readings(store, bucket, first)
                    )
                )


def until(is_so: Callable[[], bool], timeout_s: float = 120.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
