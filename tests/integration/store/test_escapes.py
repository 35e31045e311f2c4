"""Nobody reaches the host through the store: no file, no network, no command, no other account's rights."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.support.store import QueryError, StoreHandle

Account = Literal["writer", "admin", "reader"]
ACCOUNTS: tuple[Account, ...] = ("reader", "writer", "admin")
MARKER = "marker-that-must-not-come-out"


class Canary:
    """A port on which nobody may knock."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.knocks = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            caller.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    bird = Canary()
    yield bird
    assert bird.knocks == 0
    bird.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside of the store's with a file that nobody may read; nothing may be written beside it."""
    folder = tmp_path_factory.mktemp("host")
    for name in ("secret.csv", "secret.txt", "secret.proto", "secret.sh"):
        (folder / name).write_text(f"{MARKER}\n")
    (folder / "secret.sh").chmod(0o755)
    return folder


QUERIES = [
    "SELECT file('{path}')",
    "SELECT `file`('{path}')",
    "SELECT \"file\" ('{path}')",
    "SELECT `f\\x69le`('{path}')",
    "SELECT /* x */ file /* y */ ('{path}')",
    "SELECT * APPLY(file) FROM (SELECT '{path}' AS x)",
    "SELECT * APPLY file FROM (SELECT '{path}' AS x)",
    "SELECT arrayMap(file, ['{path}'])",
    "SELECT arrayMap(x -> file(x), ['{path}'])",
    "WITH (SELECT file('{path}')) AS x SELECT x",
    "SELECT 1 FORMAT TSV SETTINGS max_threads = 1; SELECT file('{path}')",
    "SELECT * FROM file('{path}', 'LineAsString')",
    "SELECT * FROM `{path}`",
    "DESCRIBE file('{path}', 'CSV')",
    "EXPLAIN SELECT file('{path}')",
    "SELECT * FROM view(SELECT file('{path}'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT file('{path}')))",
    "SELECT * FROM format(JSONEachRow, concat('a String DEFAULT fi', 'le(\\'{path}\\'), b String'), '{{\"b\":\"1\"}}')",
    "SELECT * FROM values('a String DEFAULT file(\\'{path}\\')', ('x'))",
    "SELECT * FROM `format`(JSONEachRow, concat('a String DEFAULT fi', 'le(\\'{path}\\'), b String'), '{{\"b\":\"1\"}}')",
    "SELECT * FROM format\n(JSONEachRow, concat('a String DEFAULT fi', 'le(\\'{path}\\'), b String'), '{{\"b\":\"1\"}}')",
    "SELECT * FROM generateRandom(concat('a String DEFAULT fi', 'le(\\'{path}\\')')) LIMIT 1",
    "SELECT * FROM merge('system', 'users')",
    "SELECT * FROM url('http://127.0.0.1:{port}/x', 'LineAsString')",
    "SELECT * FROM urlCluster('default', 'http://127.0.0.1:{port}/x', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', 'LineAsString')",
    "SELECT * FROM gcs('http://127.0.0.1:{port}/bucket/key', 'LineAsString')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', 'LineAsString', 'a String')",
    "SELECT * FROM remote('127.0.0.1:{port}', system, one)",
    "SELECT * FROM remoteSecure('127.0.0.1:{port}', system, one)",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 'c', 'u', 'p', 'a String')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'k', 'k String, v String')",
    "SELECT * FROM jdbc('jdbc:x://127.0.0.1:{port}/', 'd', 't')",
    "SELECT * FROM odbc('DSN=x', 'd', 't')",
    "SELECT * FROM sqlite('{path}', 't')",
    "SELECT * FROM iceberg('http://127.0.0.1:{port}/b/k')",
    "SELECT * FROM icebergLocal('{folder}')",
    "SELECT * FROM deltaLake('http://127.0.0.1:{port}/b/k')",
    "SELECT * FROM hudi('http://127.0.0.1:{port}/b/k')",
    "SELECT * FROM azureBlobStorage('DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;"
    "BlobEndpoint=http://127.0.0.1:{port}/a', 'c', 'k', 'CSV')",
    "SELECT * FROM arrowFlight('127.0.0.1:{port}', 'x')",
    "SELECT * FROM ytsaurus('http://127.0.0.1:{port}', '//x', 't', 'a String')",
    "SELECT * FROM executable('{folder}/secret.sh', 'TSV', 'a String')",
    "SELECT * FROM executable('../../../../..{folder}/secret.sh', 'TSV', 'a String')",
    "SELECT * FROM python('os')",
    "SELECT * FROM Python(sys)",
    "SELECT * FROM arrowstream('x')",
    "SELECT * FROM filesystem('{folder}')",
    "SELECT * FROM dictionary('x')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT 1 INTO OUTFILE '{folder}/out'",
    "SELECT 1 into/**/outfile '{folder}/out' FORMAT TSV",
    "SELECT 1 INTO OUTFILE '/proc/self/fd/1' APPEND FORMAT TSV",
    "SHOW TABLES INTO OUTFILE '{folder}/out'",
    "KILL QUERY WHERE 0 INTO OUTFILE '{folder}/out'",
    "OPTIMIZE TABLE cityfleet.wards INTO OUTFILE '{folder}/out'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{path}', format_template_resultset = '{path}'",
    "SELECT formatRow('Template', 1) SETTINGS format_template_row = '{path}'",
    "SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{folder}/secret:M'",
    "SELECT 1 FORMAT CapnProto SETTINGS format_schema = '{folder}/secret:M'",
    "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{folder}/out'",
    "SELECT * FROM system.users",
    "SELECT addressToLine(1) SETTINGS allow_introspection_functions = 1",
    "SELECT reverseDNSQuery('127.0.0.1')",
    "INSERT INTO FUNCTION file('{folder}/out', 'CSV', 'a String') VALUES ('x')",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/x', 'CSV', 'a String') VALUES ('x')",
    "INSERT INTO TABLE FUNCTION remote('127.0.0.1:{port}', default, t) VALUES (1)",
    "INSERT INTO FUNCTION null(concat('a String DEFAULT fi', 'le(\\'{path}\\'), b String')) (b) VALUES ('x')",
    "INSERT INTO cityfleet.wards FROM INFILE '{path}' FORMAT CSV",
    "INSERT INTO cityfleet.wards FROM/**/INFILE '{path}' COMPRESSION 'none' FORMAT CSV",
    "INSERT INTO cityfleet.wards SELECT line, '', '', '', 1 FROM file('{path}', 'LineAsString')",
    "INSERT INTO cityfleet.wards SELECT file('{path}'), '', '', '', 1",
    "INSERT INTO cityfleet.wards VALUES (file('{path}'), '', '', '', 1)",
    "INSERT INTO cityfleet.wards SELECT a, '', '', '', 1 FROM input('a String DEFAULT file(\\'{path}\\'), b String') "
    'FORMAT JSONEachRow {{"b":"1"}}',
    "INSERT INTO cityfleet.wards SELECT 1, '', '', '', 1; DROP TABLE cityfleet.wards; INSERT INTO x FORMAT CSV\n1",
    "CREATE TABLE default.e (a String) ENGINE = File(CSV, '{path}')",
    "CREATE TABLE default.e (a String) ENGINE = URL('http://127.0.0.1:{port}/', CSV)",
    "CREATE TABLE default.e (a String) ENGINE = Executable('{folder}/secret.sh', CSV)",
    "CREATE TABLE default.e (a String) ENGINE = ExecutablePool('{folder}/secret.sh', CSV)",
    "CREATE TABLE default.e (a String) ENGINE = SQLite('{path}', 't')",
    "CREATE TABLE default.e (a String) ENGINE = S3('http://127.0.0.1:{port}/b/k', CSV)",
    "CREATE TABLE default.e (a String) ENGINE = MySQL('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "CREATE TABLE default.e (a String) ENGINE = Kafka('127.0.0.1:{port}', 't', 'g', 'CSV')",
    "CREATE TABLE default.e (a String) ENGINE = Merge('system', 'users')",
    "CREATE TABLE default.e ENGINE = Alias('system', 'users')",
    "CREATE TABLE default.e (a String) ENGINE = Buffer('system', 'users', 1, 1, 1, 1, 1, 1, 1)",
    "CREATE TABLE default.e (a String) ENGINE = FileLog('{folder}', 'CSV')",
    "CREATE TABLE default.e AS file('{path}', 'LineAsString')",
    "CREATE TABLE default.e AS url('http://127.0.0.1:{port}/', 'LineAsString')",
    "CREATE TABLE default.e ENGINE = Memory AS SELECT file('{path}') AS a",
    "CREATE TABLE default.e (a String DEFAULT file('{path}')) ENGINE = Memory",
    "CREATE TABLE default.e (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS "
    "disk = disk(type = 'web', endpoint = 'http://127.0.0.1:{port}/')",
    "CREATE TABLE default.e (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '{folder}/')",
    "CREATE VIEW default.e AS SELECT file('{path}')",
    "CREATE VIEW default.e AS SELECT * FROM url('http://127.0.0.1:{port}/', 'LineAsString')",
    "CREATE MATERIALIZED VIEW default.e REFRESH EVERY 1 SECOND ENGINE = Memory AS SELECT file('{path}')",
    "CREATE TEMPORARY TABLE e (a String) ENGINE = File(CSV, '{path}')",
    "CREATE DICTIONARY default.e (a String) PRIMARY KEY a SOURCE(FILE(PATH '{path}' FORMAT 'TSV')) "
    "LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
    "CREATE DICTIONARY default.e (a String) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'cat {path}' FORMAT 'TSV')) "
    "LAYOUT(COMPLEX_KEY_HASHED()) LIFETIME(1)",
    "CREATE DATABASE e ENGINE = Filesystem('{folder}')",
    "CREATE DATABASE e ENGINE = SQLite('{path}')",
    "CREATE DATABASE e ENGINE = MySQL('127.0.0.1:{port}', 'd', 'u', 'p')",
    "CREATE DATABASE cityfleet2 ENGINE = Overlay('default', 'system')",
    "CREATE FUNCTION e AS (x) -> file(x)",
    "CREATE USER e",
    "CREATE ROLE e",
    "CREATE ROW POLICY e ON cityfleet.readings USING 1",
    "CREATE NAMED COLLECTION e AS url = 'http://127.0.0.1:{port}/'",
    "GRANT FILE ON *.* TO default",
    "GRANT ALL ON *.* TO default",
    "SET allow_ddl = 1, readonly = 0; GRANT ALL ON *.* TO default",
    "BACKUP TABLE cityfleet.wards TO File('{folder}/out')",
    "BACKUP TABLE cityfleet.wards TO Disk('default', 'x')",
    "RESTORE TABLE cityfleet.wards FROM File('{folder}')",
    "ATTACH TABLE default.e FROM '{folder}' (a Int8) ENGINE = MergeTree ORDER BY a",
    "ATTACH DATABASE e ENGINE = Filesystem('{folder}')",
    "ALTER TABLE cityfleet.wards ADD COLUMN e String DEFAULT file('{path}')",
    "ALTER TABLE cityfleet.wards UPDATE name = file('{path}') WHERE 1",
    "ALTER TABLE cityfleet.wards MODIFY SETTING disk = disk(type = 'local', path = '{folder}/')",
    "ALTER TABLE cityfleet.wards FREEZE WITH NAME '../../../../../..{folder}/out'",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
    "SYSTEM RELOAD CONFIG",
    "SYSTEM START LISTEN HTTP",
    "SYSTEM DROP REPLICA 'x'",
    "EXECUTE AS default SELECT 1",
]
# Statements that are in the list to see that nothing comes out, although the engine answers: it takes them as data,
# makes rows of them, or has nothing to say.
HARMLESS = ("values(", "generateRandom(", "FREEZE WITH NAME")


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("sql", QUERIES)
def test_there_is_no_way_out(store: StoreHandle, canary: Canary, target: Path, account: Account, sql: str) -> None:
    before = sorted(path.name for path in target.iterdir())
    text = sql.format(path=target / "secret.txt", folder=target, port=canary.port)
    try:
        answer = store.query(text, account)
    except QueryError as refused:
        assert MARKER not in str(refused)
        assert refused.status in (400, 403, 404, 500, 501)
    else:
        assert any(part in sql for part in HARMLESS), answer
        assert MARKER not in answer
    assert sorted(path.name for path in target.iterdir()) == before
    assert canary.knocks == 0
    assert store.query("SELECT 1") == "1\n"


@pytest.mark.parametrize("account", ACCOUNTS)
def test_no_table_function_reaches_file_or_network(
    store: StoreHandle, canary: Canary, target: Path, account: Account
) -> None:
    names = [name for (name,) in store.rows("SELECT name FROM system.table_functions ORDER BY name", "admin")]
    assert len(names) > 50
    url, path = f"http://127.0.0.1:{canary.port}/bucket/key", str(target / "secret.txt")
    for name in names:
        for arguments in (
            f"'{path}'",
            f"'{path}', 'LineAsString'",
            f"'{path}', 'LineAsString', 'line String'",
            f"'default', '{path}', 'LineAsString'",
            f"'{url}'",
            f"'{url}', 'LineAsString'",
            f"'{url}', 'k', 's', 'LineAsString', 'line String'",
            f"'default', '{url}', 'LineAsString'",
            f"'127.0.0.1:{canary.port}', 'd', 't', 'u', 'p'",
        ):
            try:
                answer = store.query(f"SELECT * FROM {name}({arguments}) LIMIT 1", account, max_execution_time=2)
            except QueryError as refused:
                assert MARKER not in str(refused), name
            else:
                assert MARKER not in answer, name
    assert canary.knocks == 0


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize(
    "name",
    ["format_template_row", "format_schema", "allow_python_table_function", "output_format_schema", "implicit_select"],
)
def test_dangerous_settings_stay_in_the_url_too(store: StoreHandle, account: Account, name: str) -> None:
    with pytest.raises(QueryError) as caught:
        store.query("SELECT 1", account, **{name: "1"})
    assert caught.value.code in (164, 392, 452)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO cityfleet.wards VALUES ('x', '', '', '', 1)",
        "INSERT INTO cityfleet.wards SELECT 'x', '', '', '', 1",
        "DROP TABLE cityfleet.wards",
        "TRUNCATE TABLE cityfleet.wards",
        "ALTER TABLE cityfleet.wards DELETE WHERE 1",
        "DELETE FROM cityfleet.wards WHERE 1",
        "OPTIMIZE TABLE cityfleet.wards",
        "CREATE TABLE default.r (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE r (a Int8)",
        "RENAME TABLE cityfleet.wards TO cityfleet.w2",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "SET readonly = 0",
        "SET max_memory_usage = 1",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS readonly = 2",
        "SELECT 1 SETTINGS max_memory_usage = 1",
        "SELECT 1 SETTINGS additional_table_filters = {'system.one': '0'}",
        "SELECT 1 SETTINGS allow_ddl = 1",
        "EXPLAIN SELECT 1 SETTINGS readonly = 0",
        "WITH 1 AS x SELECT x FORMAT TSV SETTINGS readonly = 0",
        "BEGIN TRANSACTION",
        "GRANT SELECT ON *.* TO default",
    ],
)
def test_reader_only_reads(store: StoreHandle, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        store.query(sql, "reader")
    assert caught.value.code in (164, 392, 497), str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE cityfleet.wards",
        "TRUNCATE TABLE cityfleet.wards",
        "ALTER TABLE cityfleet.wards DELETE WHERE 1",
        "DELETE FROM cityfleet.wards WHERE 1",
        "OPTIMIZE TABLE cityfleet.wards",
        "CREATE TABLE default.r (a Int8) ENGINE = Memory",
        "CREATE VIEW default.r AS SELECT 1",
        "RENAME TABLE cityfleet.wards TO cityfleet.w2",
        "DETACH TABLE cityfleet.wards",
        "KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES",
        "SET allow_ddl = 1; DROP TABLE cityfleet.wards",
        "SELECT 1 SETTINGS allow_ddl = 1",
    ],
)
def test_writer_only_inserts_and_reads(store: StoreHandle, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        store.query(sql, "writer")
    assert caught.value.code in (62, 392, 497), str(caught.value)


@pytest.mark.parametrize("account", ["reader", "writer"])
@pytest.mark.parametrize("name", ["readonly", "allow_ddl"])
def test_the_lock_cannot_be_opened_in_the_url(store: StoreHandle, account: Account, name: str) -> None:
    for value in ("0", "1", "2"):
        try:
            store.query("SELECT 1", account, **{name: value})
        except QueryError as refused:
            assert refused.code in (164, 392, 467)
        with pytest.raises(QueryError):
            store.query("TRUNCATE TABLE cityfleet.wards", account, **{name: value})


@pytest.mark.parametrize("account", ACCOUNTS)
def test_names_in_the_url_are_not_statements(store: StoreHandle, account: Account) -> None:
    for parameters in (
        {"default_format": "TSV SETTINGS readonly = 0"},
        {"default_format": "TSV; DROP TABLE cityfleet.wards"},
        {"default_format": "TSV INTO OUTFILE '/tmp/x'"},
        {"param_x = 1, readonly": "0"},
        {"max_threads = 1, readonly": "0"},
        {"database": "ioc`; DROP TABLE cityfleet.wards; --"},
        {"query_id": "x\r\nX-Other: y"},
    ):
        with pytest.raises(QueryError) as caught:
            store.query("SELECT 1", account, **parameters)
        assert caught.value.code in (36, 73, 81, 115, 164), parameters
    assert store.query("SELECT 1", account, query_id="x' OR 1 --") == "1\n"
    assert store.query("EXISTS cityfleet.wards") == "1\n"


def test_reader_may_ask_the_views_and_the_tables(store: StoreHandle) -> None:
    for name in ("ioc.readings", "ioc.latest", "ioc.devices", "ioc.readings_text", "cityfleet.quarantine"):
        store.query(f"SELECT * FROM {name} LIMIT 1")
        store.query(f"DESCRIBE {name}")
    assert {"device_metrics", "devices", "latest", "readings", "readings_of", "readings_text", "sites"} <= set(
        store.query("SHOW TABLES FROM ioc").split()
    )


def test_harmless_words_are_not_refused(store: StoreHandle) -> None:
    for sql in (
        "SELECT 'file(x) into outfile y' AS a",
        "SELECT 1 AS profile, format('{}', 'x') AS f",
        "SELECT isNull(NULL), 'python', evalMLMethod_ FROM (SELECT 1 AS evalMLMethod_)",
        "SELECT count() FROM numbers(3) -- file('x')",
        "SELECT name FROM system.tables WHERE engine = 'View' AND engine = name",
    ):
        store.query(sql)
