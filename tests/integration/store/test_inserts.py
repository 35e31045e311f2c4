"""Inserts: one body is one part and one unit of deduplication, in every format and encoding, through every client."""

import gzip
import zlib
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import clickhouse_connect
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.client import Client

from store.client import INSERT_SETTINGS, open_client
from tests.support.store import QueryError, StoreHandle

READINGS = (
    "SELECT toUInt32({device} + number % 7) AS device_num, toUInt16(1) AS metric_num, "
    "toDateTime64('{start}', 3, 'UTC') + number * {step} AS ts, toFloat64(number) AS value, toUInt8(1) AS quality, "
    "toUInt16(0) AS quality_reasons, toLowCardinality('00070') AS ward_code, "
    "toDateTime64('2026-11-01 00:00:00', 3, 'UTC') AS received_at FROM numbers({rows}) FORMAT Native"
)


def native(store: StoreHandle, device: int, rows: int, start: str = "2026-11-01 00:00:00", step: float = 1.0) -> bytes:
    return store.request(READINGS.format(device=device, rows=rows, start=start, step=step))


def count(store: StoreHandle, table: str, device: int) -> int:
    where = f"device_num BETWEEN {device} AND {device + 6}"
    return int(store.query(f"SELECT count() FROM cityfleet.{table} WHERE {where}"))


def parts_of(store: StoreHandle, table: str, rows: int) -> list[list[str]]:
    return store.rows(
        f"SELECT partition, rows FROM system.parts WHERE database = 'cityfleet' AND table = '{table}' AND rows = {rows}"
        " ORDER BY partition",
        "admin",
    )


@pytest.fixture
def client(store: StoreHandle) -> Iterator[Client]:
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=store.port, username="writer", password=store.writer_password
    ) as connected:
        yield connected


def test_two_hundred_blocks_in_one_body_become_one_part(store: StoreHandle, client: Client) -> None:
    body = b"".join(
        native(store, 2000, 101, start=f"2026-11-{block % 28 + 1:02} {block // 28:02}:00:00") for block in range(200)
    )
    settings = {**INSERT_SETTINGS, "insert_deduplication_token": "blocks-200"}
    client.raw_insert("cityfleet.readings", insert_block=body, fmt="Native", settings=settings)
    assert parts_of(store, "readings", 20_200) == [["202611", "20200"]]
    assert count(store, "readings", 2000) == 20_200


@pytest.mark.parametrize("table", ["readings", "latest"])
def test_the_same_token_again_adds_no_row(store: StoreHandle, client: Client, table: str) -> None:
    body = native(store, 2100, 500)
    settings = {**INSERT_SETTINGS, "insert_deduplication_token": "again"}
    for _ in range(3):
        client.raw_insert(f"cityfleet.{table}", insert_block=body, fmt="Native", settings=settings)
    assert count(store, table, 2100) == 500


def test_a_body_without_token_is_recognised_by_its_content(store: StoreHandle, client: Client) -> None:
    body = native(store, 2200, 500)
    for _ in range(2):
        client.raw_insert("cityfleet.readings", insert_block=body, fmt="Native", settings=INSERT_SETTINGS)
    assert count(store, "readings", 2200) == 500


def test_a_body_over_many_years_is_written_and_repeats_to_nothing(store: StoreHandle, client: Client) -> None:
    body = native(store, 2300, 330, start="2000-01-02 00:00:00", step=29 * 86400)
    settings = {**INSERT_SETTINGS, "insert_deduplication_token": "years"}
    for _ in range(2):
        client.raw_insert("cityfleet.readings", insert_block=body, fmt="Native", settings=settings)
    assert count(store, "readings", 2300) == 330
    months = store.query(
        "SELECT uniqExact(toYYYYMM(ts)) FROM cityfleet.readings WHERE device_num BETWEEN 2300 AND 2306"
    )
    assert int(months) > 300


def test_other_data_under_a_used_token_is_not_added(store: StoreHandle, client: Client) -> None:
    settings = {**INSERT_SETTINGS, "insert_deduplication_token": "taken"}
    for start in ("2026-11-01 00:00:00", "2026-11-02 00:00:00"):
        body = native(store, 2400, 100, start=start)
        client.raw_insert("cityfleet.readings", insert_block=body, fmt="Native", settings=settings)
    assert count(store, "readings", 2400) == 100


def test_a_redelivered_reading_is_shown_once(store: StoreHandle, client: Client) -> None:
    for token in ("first", "second"):
        for table in ("readings", "latest"):
            client.raw_insert(
                f"cityfleet.{table}",
                insert_block=native(store, 2500, 70),
                fmt="Native",
                settings={**INSERT_SETTINGS, "insert_deduplication_token": token},
            )
    asked = "SELECT count() FROM {} WHERE device_num BETWEEN 2500 AND 2506"
    assert store.query(asked.format("ioc.readings")) == "70\n"
    assert store.query(asked.format("ioc.latest")) == "7\n"


def test_latest_is_the_newest_event_whatever_comes_last(store: StoreHandle, client: Client) -> None:
    for hour, value in ((11, 11.0), (9, 9.0), (10, 10.0)):
        rows = f"2600\t5\t2026-11-03 {hour:02}:00:00\t{value}\t1\t0\t00070\t2026-11-03 12:00:00\n" * 2
        store.query("INSERT INTO cityfleet.latest FORMAT TSV", "writer", data=rows.encode())
    assert store.rows("SELECT value, ts FROM ioc.latest WHERE device_num = 2600") == [["11", "2026-11-03 11:00:00.000"]]


def test_thirty_megabytes_of_native_blocks_go_in_as_one_body(store: StoreHandle, client: Client) -> None:
    block = native(store, 2700, 50_000, step=0.01)
    body = block * (30_000_000 // len(block) + 1)
    summary = client.raw_insert("cityfleet.readings", insert_block=body, fmt="Native", settings=INSERT_SETTINGS)
    assert int(summary.summary["written_rows"]) >= len(body) // len(block) * 50_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd", "identity"])
def test_a_compressed_body_is_read(store: StoreHandle, encoding: str) -> None:
    pack = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "lz4": lz4.frame.compress,
        "zstd": zstandard.compress,
        "identity": bytes,
    }[encoding]
    device = 2800 + 10 * ["gzip", "deflate", "lz4", "zstd", "identity"].index(encoding)
    request = Request(
        f"{store.url}/?query=INSERT+INTO+cityfleet.readings+FORMAT+Native",
        data=pack(native(store, device, 5000)),
        headers={
            "Content-Encoding": encoding,
            "X-ClickHouse-User": "writer",
            "X-ClickHouse-Key": store.writer_password,
        },
    )
    with urlopen(request) as answer:
        assert answer.status == 200
    assert count(store, "readings", device) == 5000


def test_a_truncated_compressed_body_commits_nothing(store: StoreHandle) -> None:
    packed = zstandard.compress(native(store, 2900, 5000))
    request = Request(
        f"{store.url}/?query=INSERT+INTO+cityfleet.readings+FORMAT+Native",
        data=packed[:-10],
        headers={"Content-Encoding": "zstd", "X-ClickHouse-User": "writer", "X-ClickHouse-Key": store.writer_password},
    )
    with pytest.raises(HTTPError) as caught:
        urlopen(request)
    assert caught.value.headers["X-ClickHouse-Exception-Code"] in ("354", "33")
    assert count(store, "readings", 2900) == 0


@pytest.mark.parametrize(
    ("sql", "data"),
    [
        ("INSERT INTO cityfleet.wards VALUES ('f1', 'a', 'b', 'c', 1), ('f2', 'it''s', 'b', 'c', 1)", None),
        ('INSERT INTO cityfleet.wards FORMAT CSV\n\'f1\',a,b,c,1\n"f2","it\'s",b,c,1\n', None),
        ("INSERT INTO cityfleet.wards VALUES", b"('f1', 'a', 'b', 'c', 1), ('f2', 'it\\'s', 'b', 'c', 1)"),
        (
            "INSERT INTO cityfleet.wards (name, ward_code, kind, province_code, version) FORMAT JSONEachRow",
            b'{"ward_code":"f1","name":"a","version":1}\n{"ward_code":"f2","name":"it\'s","version":1}',
        ),
        ("insert into cityfleet.wards SETTINGS async_insert = 0 format TSV", b"f1\ta\tb\tc\t1\nf2\tit's\tb\tc\t1\n"),
        ("INSERT INTO cityfleet.wards SELECT if(number = 0, 'f1', 'f2'), 'it''s', '', '', 1 FROM numbers(2)", None),
    ],
    ids=["inline values", "inline csv", "values in the body", "json", "settings", "select"],
)
def test_every_way_to_write_an_insert_works(store: StoreHandle, sql: str, data: bytes | None) -> None:
    store.query("TRUNCATE TABLE cityfleet.wards", "admin")
    store.query(sql, "writer", data=data, insert_deduplicate=0)
    assert store.rows("SELECT ward_code, name FROM cityfleet.wards ORDER BY ward_code")[1] == ["f2", "it\\'s"]


def test_data_without_a_format_clause_is_in_the_default_format(store: StoreHandle) -> None:
    store.query("INSERT INTO cityfleet.wards", "writer", data=b"('d1', '', '', '', 1)")
    store.query("INSERT INTO cityfleet.wards", "writer", data=b"d2,,,,1\n", default_format="CSV")
    asked = "SELECT count() FROM cityfleet.wards WHERE ward_code IN ('d1', 'd2')"
    assert store.query(asked) == "2\n"


def test_a_bad_row_is_refused_with_the_engines_words(store: StoreHandle) -> None:
    with pytest.raises(QueryError) as caught:
        store.query("INSERT INTO cityfleet.wards FORMAT CSV", "writer", data=b"a,b,c,d,x\n")
    assert caught.value.status == 400
    assert "INCORRECT_DATA" in str(caught.value)


def test_insert_of_python_rows_works(store: StoreHandle, client: Client) -> None:
    summary = client.insert(
        "wards",
        [["r1", "a", "b", "c", 1], ["r2", "a", "b", "c", 1]],
        database="cityfleet",
        column_names=["ward_code", "name", "kind", "province_code", "version"],
    )
    assert summary.written_rows == 2


async def test_the_native_async_client_inserts_and_asks(store: StoreHandle) -> None:
    client = await open_client(store.settings, store.data_dir, "writer")
    try:
        await client.raw_insert(
            "cityfleet.readings",
            insert_block=native(store, 3000, 700),
            fmt="Native",
            settings={**INSERT_SETTINGS, "insert_deduplication_token": "async-1"},
        )
        answer = await client.query(
            "SELECT count(), sum(value) FROM cityfleet.readings WHERE device_num BETWEEN 3000 AND 3006"
        )
        assert answer.result_rows == [(700, 700 * 699 / 2)]
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("change", "undo", "code"),
    [
        ("ADD CONSTRAINT refuses CHECK version < 5", "DROP CONSTRAINT refuses", 469),
        ("MODIFY SETTING parts_to_throw_insert = 1", "RESET SETTING parts_to_throw_insert", 252),
    ],
    ids=["constraint", "too many parts"],
)
@pytest.mark.parametrize("form", ["FORMAT CSV", "VALUES", "FORMAT JSONEachRow", "SETTINGS async_insert = 0 FORMAT CSV"])
def test_an_error_behind_the_parser_is_an_error(
    store: StoreHandle, change: str, undo: str, code: int, form: str
) -> None:
    """The engine's streaming insert would say that it is stored."""
    store.query("TRUNCATE TABLE cityfleet.wards", "admin")
    store.query("INSERT INTO cityfleet.wards VALUES ('k1', '', '', '', 1)", "writer", insert_deduplicate=0)
    store.query(f"ALTER TABLE cityfleet.wards {change}", "admin")
    data = {"VALUES": b"('k2','','','',9)", "FORMAT JSONEachRow": b'{"ward_code":"k2","version":9}'}
    try:
        with pytest.raises(QueryError) as caught:
            store.query(f"INSERT INTO cityfleet.wards {form}", "writer", data=data.get(form, b"k2,,,,9\n"))
    finally:
        store.query(f"ALTER TABLE cityfleet.wards {undo}", "admin")
    assert caught.value.code == code
    assert store.rows("SELECT ward_code FROM cityfleet.wards") == [["k1"]]


def test_a_body_too_large_for_memory_is_inserted_too(store: StoreHandle) -> None:
    """Above 256 MB it goes through a file below the store's own folder, which its sandbox lets it read."""
    name = b"x" * 1_000_000
    data = b"".join(b'{"ward_code":"big%d","version":1,"name":"%s"}\n' % (n, name) for n in range(270))
    store.query("INSERT INTO cityfleet.wards FORMAT JSONEachRow", "writer", data=data, insert_deduplicate=0)
    asked = "SELECT count(), sum(length(name)) FROM cityfleet.wards WHERE ward_code LIKE 'big%'"
    assert store.query(asked) == "270\t270000000\n"
    store.query("TRUNCATE TABLE cityfleet.wards", "admin")


def test_an_error_that_quotes_bytes_is_an_error(store: StoreHandle) -> None:
    store.query("ALTER TABLE cityfleet.wards ADD CONSTRAINT refuses CHECK name != '\\xff\\xfe'", "admin")
    try:
        with pytest.raises(QueryError) as caught:
            store.query("INSERT INTO cityfleet.wards FORMAT CSV", "writer", data=b"q1,\xff\xfe,,,1\n")
    finally:
        store.query("ALTER TABLE cityfleet.wards DROP CONSTRAINT refuses", "admin")
    assert caught.value.code == 469
