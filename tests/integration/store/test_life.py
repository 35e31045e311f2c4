"""The store's life: clients that leave, too many at once, crashes, shutdown, a second instance, metrics, commands."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from store.client import INSERT_SETTINGS
from tests.support.store import QueryError, StoreHandle, running_store

ROOT = Path(__file__).parents[3]
ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"
ROW = "{device}\t1\t2026-11-01 00:00:{second:02}\t{value}\t1\t0\t00070\t2026-11-01 00:00:00\n"


def wait_for(claim: str, is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, claim
        time.sleep(0.02)


def send_and_leave(store: StoreHandle, sql: str, tag: str) -> None:
    """Send a query over a bare socket, wait until it runs, hang up."""
    with socket.create_connection(("127.0.0.1", store.port)) as wire:
        path = f"/?query_id={tag}&query={quote(sql)}"
        wire.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: reader\r\n"
            f"X-ClickHouse-Key: {store.reader_password}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        wait_for(f"{tag} runs", lambda: is_running(store, tag))


def is_running(store: StoreHandle, tag: str) -> bool:
    return (
        store.query(f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = '{tag}'", "admin") != "0\n"
    )


def metric(store: StoreHandle, name: str) -> float:
    with urlopen(f"{store.metrics_url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and not line.startswith("#"))


@pytest.mark.parametrize(
    ("tag", "sql"),
    [
        ("computes", ENDLESS),
        ("writes", "SELECT number FROM numbers(1000000000000)"),
        ("writes-json", "SELECT number, toString(number) FROM numbers(1000000000000) FORMAT JSON"),
        ("sorts", "SELECT number FROM numbers(20000000) ORDER BY sipHash64(number) LIMIT 19999999, 1"),
    ],
)
def test_a_query_whose_client_leaves_is_stopped(store: StoreHandle, tag: str, sql: str) -> None:
    send_and_leave(store, sql, tag)
    wait_for(f"{tag} is stopped", lambda: not is_running(store, tag), 5.0)
    wait_for("its slot is free", lambda: metric(store, "cityfleet_store_queries_running{") == 0)


def test_an_insert_whose_client_leaves_half_way_commits_nothing(store: StoreHandle) -> None:
    with socket.create_connection(("127.0.0.1", store.port)) as wire:
        wire.sendall(
            f"POST /?query=INSERT+INTO+cityfleet.wards+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: writer\r\n"
            f"X-ClickHouse-Key: {store.writer_password}\r\nContent-Length: 1000\r\n\r\n"
            "half\t\t\t\t1\n".encode()
        )
        wait_for("it runs", lambda: metric(store, 'cityfleet_store_queries_running{account="writer"}') == 1)
    wait_for("it ended", lambda: metric(store, 'cityfleet_store_queries_running{account="writer"}') == 0)
    assert store.query("SELECT count() FROM cityfleet.wards WHERE ward_code = 'half'") == "0\n"


def test_a_body_that_stops_coming_is_refused(tmp_path: Path) -> None:
    with (
        running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__RECEIVE_TIMEOUT_S="0.3") as store,
        socket.create_connection(("127.0.0.1", store.port)) as wire,
    ):
        wire.sendall(
            f"POST /?query=INSERT+INTO+cityfleet.wards+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: writer\r\n"
            f"X-ClickHouse-Key: {store.writer_password}\r\nContent-Length: 1000\r\n\r\nhalf\t".encode()
        )
        assert b"X-ClickHouse-Exception-Code: 209" in wire.recv(4096)


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    with running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__MAX_BODY_BYTES="1000") as store:
        with pytest.raises(QueryError) as caught:
            store.query("INSERT INTO cityfleet.wards FORMAT TSV", "writer", data=b"w\t\t\t\t1\n" * 200)
        assert (caught.value.status, caught.value.code) == (413, 307)
        assert store.query("SELECT count() FROM cityfleet.wards") == "0\n"


def test_kill_query_stops_it(store: StoreHandle) -> None:
    errors: list[QueryError] = []

    def ask() -> None:
        try:
            store.query(ENDLESS, "reader", query_id="to-kill")
        except QueryError as refused:
            errors.append(refused)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for("it runs", lambda: is_running(store, "to-kill"))
    store.query("KILL QUERY WHERE Settings['log_comment'] = 'to-kill'", "admin")
    asking.join(10)
    assert [error.code for error in errors] == [394]


def test_too_many_at_once_are_told_to_come_back(tmp_path: Path) -> None:
    with running_store(
        tmp_path, CITYFLEET_STORE__EMBEDDED__READER_QUERIES="1", CITYFLEET_STORE__EMBEDDED__QUEUE_WAIT_S="0.2"
    ) as store:
        with socket.create_connection(("127.0.0.1", store.port)) as wire:
            wire.sendall(
                f"GET /?query={quote(ENDLESS)} HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: reader\r\n"
                f"X-ClickHouse-Key: {store.reader_password}\r\n\r\n".encode()
            )
            wait_for("it runs", lambda: metric(store, "cityfleet_store_queries_running{") == 1)
            with pytest.raises(QueryError) as caught:
                store.query("SELECT 1", "reader")
            assert (caught.value.status, caught.value.code) == (503, 202)
            assert store.query("SELECT 1", "writer") == "1\n"  # other accounts have their own slots
        wait_for("a slot is free", lambda: metric(store, "cityfleet_store_queries_running{") == 0)
        assert store.query("SELECT 1", "reader") == "1\n"


def test_sigterm_lets_running_queries_end(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        answers: list[str] = []
        sql = "SELECT sleepEachRow(0.1) FROM numbers(12) SETTINGS max_block_size = 1"
        asking = threading.Thread(target=lambda: answers.append(store.query(sql, "admin", query_id="slow")))
        asking.start()
        wait_for("it runs", lambda: is_running(store, "slow"))
        assert store.stop() == 0
        asking.join()
        assert answers == ["0\n" * 12]


def test_a_query_that_outlasts_the_deadline_is_stopped(tmp_path: Path) -> None:
    with running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__DRAIN_S="0.3") as store:

        def ask() -> None:
            with contextlib.suppress(QueryError):
                store.query(ENDLESS, query_id="endless")

        send = threading.Thread(target=ask)
        send.start()
        wait_for("it runs", lambda: is_running(store, "endless"))
        started = time.monotonic()
        assert store.stop() == 0
        assert time.monotonic() - started < 10
        send.join()


@pytest.mark.parametrize("crash", range(3))
def test_what_was_acknowledged_survives_kill_9_exactly_once(tmp_path: Path, crash: int) -> None:
    """A writer sends batches under their tokens and repeats what was not acknowledged, as ingest does."""
    with running_store(tmp_path) as store:
        acknowledged: list[int] = []
        today = store.query("SELECT now64(3)").strip()
        stop = threading.Event()

        def send(batch: int) -> None:
            rows = "".join(ROW.format(device=7000 + batch % 5, second=row % 60, value=batch) for row in range(40))
            rows = rows.replace(
                "2026-11-01 00:00:", f"2026-{batch % 12 + 1:02}-{batch // 12 % 28 + 1:02} 0{batch % 7}:00:"
            )
            settings = {**INSERT_SETTINGS, "insert_deduplication_token": f"batch-{batch}"}
            store.query(
                "INSERT INTO cityfleet.quarantine (received_at, device_id, detail) FORMAT TSV",
                "writer",
                data=f"{today}\t{batch}\tx\n".encode() * 40,
                **settings,
            )
            store.query("INSERT INTO cityfleet.readings FORMAT TSV", "writer", data=rows.encode(), **settings)

        def write() -> None:
            batch = 0
            while not stop.is_set():
                try:
                    send(batch)
                except OSError:
                    return
                acknowledged.append(batch)
                batch += 1

        writing = threading.Thread(target=write)
        writing.start()
        wait_for("some batches are in", lambda: len(acknowledged) > 5 + 7 * crash)
        os.kill(store.pid, signal.SIGKILL)
        writing.join()
        store.kill()
        store.start()
        counted = {
            int(row[0]): int(row[1])
            for row in store.rows("SELECT device_id, count() FROM cityfleet.quarantine GROUP BY device_id")
        }
        assert {batch: counted.get(batch) for batch in acknowledged} == dict.fromkeys(acknowledged, 40)
        last = acknowledged[-1]
        for batch in (last, last + 1):  # the one acknowledged last, and the one that was cut
            send(batch)
        total = store.query("SELECT count(), uniqExact(device_id) FROM cityfleet.quarantine")
        assert total == f"{40 * (last + 2)}\t{last + 2}\n"
        assert store.query("SELECT count() FROM cityfleet.readings FINAL") == f"{40 * (last + 2)}\n"


def run(store: StoreHandle, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, "--data", str(store.data_dir)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto/gen'}",
            "CITYFLEET_STORE__LISTEN__PORT": str(store.port),
        },
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_second_store_on_the_same_folder_is_refused(store: StoreHandle) -> None:
    done = run(store, "store")
    assert done.returncode == 1
    assert "already running" in done.stderr
    assert store.query("SELECT 1") == "1\n"


def test_health_readiness_and_metrics_are_there(store: StoreHandle) -> None:
    for path in ("/healthz", "/readyz"):
        with urlopen(store.metrics_url + path) as answer:
            assert answer.read() == b"ok\n"
    before = metric(store, 'cityfleet_store_queries_total{account="reader",outcome="ok"}')
    store.query("SELECT 1")
    assert metric(store, 'cityfleet_store_queries_total{account="reader",outcome="ok"}') == before + 1
    with pytest.raises(QueryError):
        store.query("DROP TABLE cityfleet.wards")
    assert metric(store, 'cityfleet_store_queries_total{account="reader",outcome="refused"}') >= 1
    inserted = metric(store, "cityfleet_store_rows_inserted_total")
    store.query("INSERT INTO cityfleet.wards VALUES ('m1', '', '', '', 1)", "writer")
    assert metric(store, "cityfleet_store_rows_inserted_total") == inserted + 1


def test_status_tells_version_migrations_and_tables(store: StoreHandle) -> None:
    done = run(store, "store", "status", "-o", "json")
    found = json.loads(done.stdout)
    assert found["pending"] == []
    assert "0001_readings" in found["applied"]
    assert {"readings", "latest", "quarantine", "devices"} <= {table["table"] for table in found["tables"]}
    assert "migrations" in run(store, "store", "status").stdout


def test_migrate_finds_nothing_to_do(store: StoreHandle) -> None:
    assert "up to date" in run(store, "store", "migrate").stdout
    assert "up to date" in run(store, "store", "migrate", "--dry-run").stdout


def test_migrate_builds_the_schema_over_http(tmp_path: Path) -> None:
    with running_store(tmp_path) as store:
        for database in ("ioc", "cityfleet"):
            store.query(f"DROP DATABASE {database} SYNC", "admin")
        assert "CREATE TABLE IF NOT EXISTS cityfleet.readings" in run(store, "store", "migrate", "--dry-run").stdout
        assert "applied 0001 readings" in run(store, "store", "migrate").stdout
        assert store.query("SELECT count() FROM ioc.readings") == "0\n"
        assert "up to date" in run(store, "store", "migrate").stdout


def test_status_of_a_store_that_is_away_says_so(store: StoreHandle, tmp_path: Path) -> None:
    away = StoreHandle(tmp_path, url="http://127.0.0.1:1")
    done = run(away, "store", "status")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_query_prints_tables_csv_and_json(store: StoreHandle) -> None:
    assert run(store, "query", "SELECT 1 AS a, 'x[b]' AS b").stdout.split() == ["a", "b", "1", "x[b]"]
    assert run(store, "query", "SELECT number FROM numbers(2)", "-o", "csv").stdout == '"number"\n0\n1\n'
    assert json.loads(run(store, "query", "SELECT 1 AS a", "-o", "json").stdout)["data"] == [{"a": 1}]
    assert run(store, "query", "-", "-o", "tsv", stdin="SELECT 5 AS a").stdout == "a\n5\n"
    assert run(store, "query", "SELECT 7 FORMAT CSV").stdout == "7\n"


def test_query_fails_with_the_engines_words(store: StoreHandle) -> None:
    done = run(store, "query", "SELEC 1")
    assert done.returncode == 1
    assert "Syntax error" in done.stderr
    done = run(store, "query", "SELECT throwIf(number = 2500000) FROM numbers(3000000)", "-o", "csv")
    assert done.returncode == 1
    assert "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in done.stderr
    assert "__exception__" not in done.stdout
