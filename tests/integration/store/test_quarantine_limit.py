"""The quarantine stays within its bytes and its age: the oldest payloads go, each counted; the newest stay."""

import asyncio
import time
import urllib.request

import pytest

from store.quarantine_limit import keep_server_within_limits
from store.settings import QuarantineSettings, StoreSettings
from tests.support.deadline import until
from tests.support.store import StoreHandle, running_store

INSERT = (
    "INSERT INTO cityfleet.quarantine (received_at, device_id, reason, readings, payload) "
    "SELECT fromUnixTimestamp64Milli({at} + number, 'UTC'), 'd', 'malformed_payload', 3, randomString(1000) "
    "FROM numbers({rows})"
)
SIZE = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'cityfleet' AND table = 'quarantine'"


def metric(store: StoreHandle, name: str) -> float:
    with urllib.request.urlopen(f"{store.metrics_url}/metrics", timeout=60) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
    return 0.0


def left(store: StoreHandle) -> tuple[int, int, int, int]:
    """Payloads, readings, and the times of the oldest and the newest."""
    answer = store.query(
        "SELECT count(), sum(readings), toUnixTimestamp64Milli(min(received_at)), "
        "toUnixTimestamp64Milli(max(received_at)) FROM cityfleet.quarantine"
    )
    payloads, readings, first, last = map(int, answer.split("\t"))
    return payloads, readings, first, last


def test_above_its_bytes_the_oldest_go_and_are_counted(tmp_path):
    limit, inserts, rows = 8_000_000, 20, 1_000
    with running_store(tmp_path, CITYFLEET_STORE__QUARANTINE__MAX_BYTES=str(limit)) as store:
        now_ms = time.time_ns() // 1_000_000
        first_ms = now_ms - 10_000_000
        for number in range(inserts):
            store.query(INSERT.format(at=first_ms + number * rows, rows=rows), "admin")
        last_ms = first_ms + inserts * rows - 1
        dropped = 'cityfleet_store_quarantine_dropped_{}_total{{cause="bytes"}}'

        def is_done() -> bool:
            # Between a part that went and its counters there is a moment: only within the limit they must agree.
            is_within = int(store.query(SIZE, "admin")) <= limit
            payloads, readings, _, _ = left(store)
            found = [metric(store, dropped.format(what)) for what in ("payloads", "readings")]
            return is_within and found == [inserts * rows - payloads, inserts * rows * 3 - readings]

        until(is_done)
        payloads, _, oldest, newest = left(store)
        assert newest == last_ms
        assert payloads * 1_000 > limit // 2, "no more goes than has to"
        assert oldest == last_ms - payloads + 1, "the oldest went"
        until(lambda: metric(store, "cityfleet_store_quarantine_bytes") <= limit)


def test_what_is_too_old_goes_and_is_counted(tmp_path):
    with running_store(tmp_path, CITYFLEET_STORE__QUARANTINE__MAX_AGE_DAYS="0") as store:
        now_ms, day_ms = time.time_ns() // 1_000_000, 86_400_000
        store.query(INSERT.format(at=now_ms - 31 * day_ms, rows=50), "admin")
        store.stop()
        store.environ.clear()
        store.start()
        until(lambda: metric(store, 'cityfleet_store_quarantine_dropped_payloads_total{cause="age"}') == 50)
        store.query(INSERT.format(at=now_ms - 29 * day_ms, rows=70), "admin")
        assert left(store)[0] == 70
        store.stop()
        store.start()
        until(lambda: metric(store, "cityfleet_store_quarantine_payloads") == 70)


async def test_a_server_without_a_store_role_is_looked_after_by_its_admin_account(tmp_path):
    with running_store(tmp_path) as store:
        for number in range(4):
            store.query(INSERT.format(at=time.time_ns() // 1_000_000 + number * 3_000, rows=3_000), "admin")
        newest = left(store)[3]
        own = QuarantineSettings(max_bytes=4_000_000, max_age_days=0)
        settings = StoreSettings(url=store.url, admin_password=store.password("admin"), quarantine=own)
        both = [asyncio.create_task(keep_server_within_limits(settings, tmp_path / "other")) for _ in range(2)]
        deadline = time.monotonic() + 60
        while (found := left(store))[0] > 4_000:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert found[3] == newest
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


@pytest.mark.parametrize("bad", [{"max_bytes": 1000}, {"max_age_days": -1}, {"max_age_days": float("nan")}])
def test_limits_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        QuarantineSettings(**bad)
