"""The engine's own account of its work: kept where it is asked for, gone after so many days."""

from pathlib import Path

import pytest

from tests.support.registry import wait_until
from tests.support.store import QueryError, running_store

LOGGED_S = 30.0


def test_statements_views_and_merges_are_logged_with_their_cpu_time(tmp_path: Path) -> None:
    with running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__LOG_DAYS="2") as store:
        columns = "(device_num, metric_num, ts, value, quality, ward_code, received_at)"
        for number in range(2):
            rows = f"SELECT number, {number}, now64(3), 1, 1, '00070', now64(3) FROM numbers(1000)"
            store.query(f"INSERT INTO cityfleet.readings {columns} {rows}", "admin")
        store.query("OPTIMIZE TABLE cityfleet.readings FINAL", "admin")
        for claim, log, where in (
            ("an INSERT", "query_log", "type = 'QueryFinish' AND query LIKE 'INSERT INTO cityfleet.readings%'"),
            ("the view of it", "query_views_log", "view_name = 'cityfleet.rollup_due'"),
            ("the merge", "part_log", "event_type = 'MergeParts' AND table = 'readings'"),
        ):
            used = "sum(ProfileEvents['UserTimeMicroseconds'] + ProfileEvents['SystemTimeMicroseconds']) > 0"
            for _ in wait_until(f"{claim} is logged", LOGGED_S):
                answer = store.query(f"SELECT name FROM system.tables WHERE database = 'system' AND name = '{log}'")
                if answer and store.query(f"SELECT {used} FROM system.{log} WHERE {where}", "admin") == "1\n":
                    break
            definition = store.query(f"SELECT create_table_query FROM system.tables WHERE name = '{log}'", "admin")
            assert "TTL event_date + toIntervalDay(2)" in definition


def test_logs_begin_anew_with_the_store_and_leave_nothing_behind(tmp_path: Path) -> None:
    logs = tmp_path / "data" / "store" / "data" / "data" / "system"
    with running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__LOG_DAYS="2"):
        for _ in wait_until("something is logged", LOGGED_S):
            if logs.exists():
                break
    with running_store(tmp_path):
        assert not logs.exists()


def test_without_it_there_are_no_logs(tmp_path: Path) -> None:
    with running_store(tmp_path) as store, pytest.raises(QueryError, match="UNKNOWN_TABLE"):
        store.query("SELECT count() FROM system.query_log", "admin")


def test_a_number_of_days_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"log_days must be 0 \(no log\) to 3650, not -1"),
        running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__LOG_DAYS="-1"),
    ):
        pass
