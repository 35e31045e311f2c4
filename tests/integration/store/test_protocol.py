"""ClickHouse's HTTP interface as clients use it: queries, formats, headers, parameters, compression, errors."""

import gzip
import json
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.support.store import QueryError, StoreHandle


def ask(
    store: StoreHandle,
    sql: str = "",
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    account: str = "reader",
    **parameters: object,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers (in lower case) of a GET, or of a POST if there is a body."""
    if sql:
        parameters["query"] = sql
    login = {"X-ClickHouse-User": account, "X-ClickHouse-Key": store.password(account)}  # type: ignore[arg-type]
    request = Request(f"{store.url}/?{urlencode(parameters)}", data=body, headers=login | (headers or {}))
    with urlopen(request) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


def curl(*arguments: str, data: bytes | None = None) -> str:
    done = subprocess.run(["curl", "-sS", *arguments], input=data, capture_output=True, timeout=60, check=True)
    return done.stdout.decode()


def test_curl_asks_in_the_url_in_the_body_and_in_both(store: StoreHandle) -> None:
    login = ["-u", f"reader:{store.reader_password}"]
    assert curl(*login, f"{store.url}/?query=SELECT%201%2B1") == "2\n"
    assert curl(*login, store.url, "--data-binary", "SELECT 3") == "3\n"
    assert curl(*login, f"{store.url}/?query=SELECT%20number", "--data-binary", "FROM numbers(2)") == "0\n1\n"
    assert curl(f"{store.url}/?query=SELECT%204&user=reader&password={store.reader_password}") == "4\n"


def test_curl_sends_a_multipart_form_with_parameters(store: StoreHandle) -> None:
    answer = curl(
        "-u", f"reader:{store.reader_password}", "-F", "query=SELECT {a:UInt8} + {b:Int64}, {c:Array(String)}",
        "-F", "param_a=2", "-F", "param_b=-5", "-F", "param_c=['x','it\\'s']", store.url,
    )  # fmt: skip
    assert answer == "-3\t['x','it\\\\'s']\n".replace("\\\\", "\\")


def test_parameters_keep_every_character(store: StoreHandle) -> None:
    value = "a'b\"c\\d\te\nf;-- {x} ố"
    escaped = value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    body, _ = ask(store, "SELECT {v:String} FORMAT RawBLOB", param_v=escaped)
    assert body.decode() == value


def test_get_changes_nothing(store: StoreHandle) -> None:
    with pytest.raises(HTTPError) as caught:
        ask(store, "INSERT INTO cityfleet.wards VALUES ('g', '', '', '', 1)", account="writer")
    assert caught.value.headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(
    ("sql", "parameters", "headers", "expected_format", "content_type"),
    [
        ("SELECT 1", {}, {}, "TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("SELECT 1 FORMAT JSON", {"default_format": "CSV"}, {}, "JSON", "application/json; charset=UTF-8"),
        ("SELECT 1", {"default_format": "CSV"}, {}, "CSV", "text/csv; charset=UTF-8; header=absent"),
        ("SELECT 1", {}, {"X-ClickHouse-Format": "Native"}, "Native", "application/octet-stream"),
        ("SELECT 1 format JSONEachRow SETTINGS join_use_nulls = 0;", {}, {}, "JSONEachRow", None),
        ("SHOW TABLES FROM ioc FORMAT TSV", {}, {}, "TSV", None),
        ("SELECT 'FORMAT CSV' AS format -- FORMAT JSON", {}, {}, "TabSeparated", None),
        ("SELECT `format` FROM (SELECT 1 AS format)", {}, {}, "TabSeparated", None),
        ("EXPLAIN SELECT 1", {"default_format": "JSONCompact"}, {}, "JSONCompact", None),
        ("(SELECT 1 UNION ALL SELECT 2) FORMAT XML", {}, {}, "XML", "application/xml; charset=UTF-8"),
        ("WITH 5 AS x SELECT x /* ; */ FORMAT Parquet /* end */ ;", {}, {}, "Parquet", "application/octet-stream"),
    ],
)
def test_the_format_is_the_one_that_counts_and_is_told(
    store: StoreHandle,
    sql: str,
    parameters: dict[str, str],
    headers: dict[str, str],
    expected_format: str,
    content_type: str | None,
) -> None:
    body, answered = ask(store, sql, headers, **parameters)
    assert answered["x-clickhouse-format"] == expected_format
    assert body
    if content_type:
        assert answered["content-type"] == content_type


def test_a_large_answer_is_one_document_of_its_format(store: StoreHandle) -> None:
    body, answered = ask(store, "SELECT number, toString(number) AS s FROM numbers(300000) FORMAT JSONCompact")
    document = json.loads(body)
    assert document["rows"] == len(document["data"]) == 300_000
    assert answered["transfer-encoding"] == "chunked"
    body, _ = ask(store, "SELECT number FROM numbers(1000000) FORMAT CSVWithNames")
    assert body.count(b"number") == 1
    assert body.count(b"\n") == 1_000_001


def test_headers_tell_query_id_time_zone_and_summary(store: StoreHandle) -> None:
    _, answered = ask(store, "SELECT count() FROM numbers(5000)", query_id="my-own-id")
    assert answered["x-clickhouse-query-id"] == "my-own-id"
    assert answered["x-clickhouse-timezone"] == "UTC"
    assert answered["x-clickhouse-server-display-name"]
    summary = json.loads(answered["x-clickhouse-summary"])
    assert summary["read_rows"] == "5000"
    assert summary["result_rows"] == "1"
    assert int(summary["elapsed_ns"]) > 0
    _, answered = ask(
        store,
        "",
        body=b"INSERT INTO cityfleet.wards VALUES ('s', '', '', '', 1), ('t', '', '', '', 1)",
        account="writer",
    )
    assert json.loads(answered["x-clickhouse-summary"])["written_rows"] == "2"


def test_a_running_query_id_is_not_used_twice(store: StoreHandle) -> None:
    slow = Request(
        f"{store.url}/?query_id=twice",
        data=b"SELECT sleepEachRow(0.2) FROM numbers(10) SETTINGS max_block_size = 1",
        headers={"X-ClickHouse-User": "admin", "X-ClickHouse-Key": store.admin_password},
    )
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: urlopen(slow).read())
        for _ in range(200):
            if store.query("SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'twice'") != "0\n":
                break
        with pytest.raises(QueryError) as caught:
            store.query("SELECT 1", query_id="twice")
        assert caught.value.code == 216
        running.result()
    assert store.query("SELECT 1", query_id="twice") == "1\n"


UNPACK = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("encoding", sorted(UNPACK))
@pytest.mark.parametrize("rows", [10, 500_000])
def test_answers_are_compressed_when_asked(store: StoreHandle, encoding: str, rows: int) -> None:
    sql = f"SELECT number FROM numbers({rows})"
    body, answered = ask(store, sql, {"Accept-Encoding": encoding}, enable_http_compression=1)
    assert answered["content-encoding"] == encoding
    assert UNPACK[encoding](body).count(b"\n") == rows


def test_answers_are_plain_without_the_setting(store: StoreHandle) -> None:
    _, answered = ask(store, "SELECT 1", {"Accept-Encoding": "gzip, zstd"})
    assert "content-encoding" not in answered


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("", 400, 62),
        ("SELECT * FROM nowhere", 404, 60),
        ("SELECT * FROM nodb.x", 404, 81),
        ("SELECT nocolumn FROM cityfleet.wards", 404, 47),
        ("SELECT nofunction(1)", 404, 46),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT 1 FORMAT NoFormat", 404, 73),
        ("SELECT 1; SELECT 2", 400, 62),
        ("SELECT {x:UInt8}", 400, 456),
        ("SELECT 1 SETTINGS nosetting = 1", 404, 115),
        ("SELECT sleepEachRow(1) FROM numbers(5) SETTINGS max_execution_time = 0.2, max_block_size = 1", 408, 159),
    ],
)
def test_errors_have_the_engines_code_text_and_a_fitting_status(
    store: StoreHandle, sql: str, status: int, code: int
) -> None:
    with pytest.raises(QueryError) as caught:
        store.query(sql, "writer")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert f"Code: {code}. DB::Exception: " in str(caught.value)
    assert "(version 26." in str(caught.value)


def test_an_error_after_the_first_megabyte_breaks_the_answer_off(store: StoreHandle) -> None:
    import http.client

    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(store, "SELECT throwIf(number = 3000000) FROM numbers(4000000)")
    assert b"__exception__" in caught.value.partial[-2000:]
    assert b"Code: 395" in caught.value.partial[-2000:]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "194"),
        ({"X-ClickHouse-User": "reader", "X-ClickHouse-Key": "wrong"}, 403, "516"),
        ({"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": ""}, 403, "516"),
        ({"X-ClickHouse-User": "default"}, 403, "516"),
        ({"Authorization": "Basic ????"}, 403, "516"),
        ({"X-ClickHouse-User": "reader", "X-ClickHouse-Key": ""}, 403, "516"),
    ],
)
def test_nobody_gets_in_without_the_password(
    store: StoreHandle, headers: dict[str, str], status: int, code: str
) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{store.url}/?query=SELECT+1", headers=headers))
    assert caught.value.code == status
    assert caught.value.headers["X-ClickHouse-Exception-Code"] == code


def test_one_querys_settings_do_not_reach_the_next(store: StoreHandle) -> None:
    asked = "SELECT getSetting('max_block_size'), getSetting('max_threads'), currentDatabase()"
    before = store.query(asked, "admin")
    store.query("SET max_block_size = 11", "admin")
    store.query("USE ioc", "admin")
    changed = store.query(asked, "admin", max_block_size=7, max_threads=63, database="cityfleet")
    assert changed == "7\t63\tcityfleet\n"
    store.query("SELECT 1 SETTINGS max_block_size = 5", "admin")
    assert store.query(asked, "admin") == before
    assert store.query(asked, "reader") == before


@pytest.mark.parametrize(
    "setting", ["compile_expressions", "compile_aggregate_expressions", "compile_sort_description"]
)
def test_nobody_waits_until_a_question_is_compiled(store: StoreHandle, setting: str) -> None:
    assert store.query(f"SELECT getSetting('{setting}')", "reader") in ("0\n", "false\n")


def test_what_reads_one_device_takes_one_thread_unless_it_asks_for_more(store: StoreHandle) -> None:
    series = "ioc.series_of(device_id = 'x', metric = 'y')"
    asked = f"SELECT getSetting('max_threads'), (SELECT count() FROM {series})"
    assert store.query(asked, "reader") == "1\t0\n"
    assert store.query(asked, "reader", max_threads=63) == "63\t0\n"


def test_what_reads_one_device_passes_by_what_finds_many(store: StoreHandle) -> None:
    asked = "SELECT getSetting('use_statistics'), getSetting('ignore_data_skipping_indices')"
    series = "(SELECT count() FROM ioc.series_of(device_id = 'x', metric = 'y'))"
    for account in ("reader", "admin"):
        assert store.query(f"{asked}, {series}", account) == "false\tward\t0\n"
        assert store.query(asked, account) == "true\t\n"
    with pytest.raises(QueryError, match="Cannot modify 'use_statistics'"):
        store.query(f"{asked}, {series}", "reader", use_statistics=1)


def test_what_reads_one_device_is_decompressed_once(store: StoreHandle) -> None:
    store.query("INSERT INTO cityfleet.devices (device_num, device_id) VALUES (77, 'wl-77')", "writer")
    store.query("INSERT INTO cityfleet.metrics (metric_num, metric, unit) VALUES (7, 'water_level_m', 'm')", "writer")
    columns = "(device_num, metric_num, ts, value, quality, quality_reasons)"
    rows = "77, 7, toDateTime('2026-01-01') + number, number / 2, 1 + number % 4, number % 16"
    store.query(f"INSERT INTO cityfleet.readings {columns} SELECT {rows} FROM numbers(300000)", "admin")
    kind = "SELECT part_type, part_storage_type FROM system.parts WHERE active AND table = 'readings' AND rows = 300000"
    assert store.query(kind, "admin") == "Compact\tPacked\n"  # all that is cached lies in one file
    hits = "SELECT sum(value) FROM system.events WHERE event = 'UncompressedCacheHits'"
    sums = "count(), sum(value), sum(quality), sum(quality_reasons), sum(toUnixTimestamp(ts) - 1767225600)"
    series = f"SELECT {sums} FROM ioc.series_of(device_id = 'wl-77', metric = 'water_level_m')"
    answer = "300000\t22499925000\t750000\t2250000\t44999850000\n"
    before = int(store.query(hits, "admin"))
    assert [store.query(series, "reader") for _ in range(3)] == [answer] * 3
    asked_again = int(store.query(hits, "admin"))
    assert asked_again > before
    store.query("SELECT sum(value) FROM ioc.readings", "reader")
    assert int(store.query(hits, "admin")) == asked_again
    store.query(f"INSERT INTO cityfleet.readings {columns} VALUES (77, 7, '2026-01-01 00:00:00', 5, 1, 0)", "writer")
    assert store.query(series, "reader").split("\t")[1] == "22499925005"


def test_database_is_taken_from_the_url_or_the_header(store: StoreHandle) -> None:
    assert store.query("SELECT count() FROM wards WHERE 0", database="cityfleet") == "0\n"
    body, _ = ask(store, "SELECT currentDatabase()", {"X-ClickHouse-Database": "ioc"})
    assert body == b"ioc\n"
    with pytest.raises(QueryError) as caught:
        store.query("SELECT 1", database="nodb")
    assert caught.value.code == 81


@pytest.mark.parametrize("account", ["reader", "writer", "admin"])
def test_clickhouse_connect_works_as_it_is(store: StoreHandle, account: str) -> None:
    with clickhouse_connect.get_client(
        host="127.0.0.1",
        port=store.port,
        username=account,
        password=store.password(account),  # type: ignore[arg-type]
    ) as client:
        answer = client.query(
            "SELECT number, {text:String} AS text, toDateTime64('2026-11-01 10:00:00.5', 3, 'UTC') AS t, "
            "toLowCardinality('w') AS w, map('a', 1) AS m, [1, 2] AS l FROM numbers(3)",
            parameters={"text": "it's 'ốt'\n"},
        )
        assert answer.column_names == ("number", "text", "t", "w", "m", "l")
        assert answer.result_rows[2][:2] == (2, "it's 'ốt'\n")
        assert client.command("SELECT count() FROM system.one") == 1
        frame = client.query_df("SELECT number FROM numbers(100000)")
        assert len(frame) == 100_000
        with client.query_row_block_stream("SELECT number FROM numbers(300000)") as stream:
            assert sum(len(block) for block in stream) == 300_000
        assert client.raw_query("SELECT 1", fmt="JSONEachRow") == b'{"1":1}\n'
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            client.query("SELECT * FROM nowhere")


def test_many_formats_stream_the_same_rows(store: StoreHandle) -> None:
    formats: Sequence[str] = (
        "Native",
        "RowBinary",
        "Parquet",
        "ArrowStream",
        "Arrow",
        "ORC",
        "Avro",
        "MsgPack",
        "Values",
    )
    for name in formats:
        body, answered = ask(store, f"SELECT number FROM numbers(200000) FORMAT {name}")
        assert answered["x-clickhouse-format"] == name
        assert len(body) > 500


def test_javascript_client_works(store: StoreHandle, tmp_path: Path) -> None:
    import shutil

    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is missing")
    folder = Path(__file__).parent / "js"
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(folder / name, tmp_path / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=tmp_path, check=True, timeout=100)
    done = subprocess.run(
        ["node", "client.mjs", store.url, store.reader_password, store.writer_password],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "all well"
