"""An account of a ward sees its ward's rows and what is public, in the embedded store, whatever it asks."""

import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from store.access.check import tables
from store.access.declared import Rule, declared
from tests.support.store import QueryError, StoreHandle
from tests.support.wards import MARKER, OTHER, OWN, Ward, account, fill


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreHandle]:
    """A store of this file's own: its counts are exact."""
    environ = {"CITYFLEET_STORE__ACCESS__QUERIES_PER_MINUTE": "100000"}
    environ["CITYFLEET_STORE__ACCESS__EXECUTION_S_PER_MINUTE"] = "100000"
    handle = StoreHandle(tmp_path_factory.mktemp("city") / "data", environ=environ)
    try:
        handle.start(timeout_s=110)
        fill(handle)
        yield handle
    finally:
        handle.stop()


@pytest.fixture(scope="module")
def ward(city: StoreHandle) -> Ward:
    asked = Ward(city, "ward_00070", account(city, "ward_00070", OWN))
    end = time.monotonic() + 60
    while asked.query("SELECT count() FROM cityfleet.latest").strip() != "42" and time.monotonic() < end:
        time.sleep(0.2)  # until the store has seen which metric is public
    return asked


_PARAMETER = re.compile(r"\{(\w+):(\w+(?:\([^}]*\))?)\}")
_EXAMPLES = {
    "DateTime": "'2026-11-01 00:00:00'",
    "DateTime64": "'2026-11-01 00:00:00'",
    "Date": "'2026-11-01'",
    "String": "'x'",
    "UInt8": "1",
    "UInt16": "1",
    "UInt32": "1",
    "Float64": "1",
}

# 40 devices of its own, and the other ward's two gauges at the river.
COUNTS = [
    ("SELECT count() FROM cityfleet.readings", "42"),
    ("SELECT count() FROM cityfleet.readings FINAL", "42"),
    ("SELECT count() FROM readings", "42"),
    ("SELECT count() FROM ioc.latest", "42"),
    ("SELECT count() FROM cityfleet.latest", "42"),
    ("SELECT count() FROM ioc.devices", "42"),
    ("SELECT count() FROM cityfleet.sites", "40"),
    ("SELECT count() FROM ioc.sites", "40"),
    ("SELECT count() FROM cityfleet.sites AS `cityfleet.wards`", "40"),
    ("SELECT sum(toUInt64(kind)) FROM cityfleet.sites", "40"),
    ("SELECT toUInt64(kind) AS k, count() FROM cityfleet.sites GROUP BY k", "1\t40"),
    ("SELECT count() FROM ioc.readings_text", "4000"),
    ("SELECT count() FROM ioc.readings_of(device_id = '4')", "1"),
    (f"SELECT count() FROM ioc.readings_of(device_id = '{MARKER}-5')", "0"),
    ("SELECT count() FROM ioc.series_of(device_id = '4', metric = 'street_flood_depth_mm')", "1"),
    (f"SELECT count() FROM ioc.series_of(device_id = '{MARKER}-5', metric = 'street_flood_depth_mm')", "0"),
    (f"SELECT count() FROM ioc.series_of(device_id = '{MARKER}-3', metric = 'water_level_m')", "1"),
    (f"SELECT count() FROM ioc.latest WHERE ward_code = '{OTHER}'", "2"),
    ("SELECT device_id, metric FROM ioc.latest WHERE device_num = 3", f"{MARKER}-3\twater_level_m"),
    (f"SELECT count() FROM ioc.latest WHERE ward_code = '{OTHER}' OR 1", "42"),
    (f"SELECT count() FROM cityfleet.latest WHERE NOT (ward_code = '{OWN}')", "2"),
    ("SELECT max(site_num), min(site_num) FROM cityfleet.sites", "78\t0"),
    ("SELECT max(ts) = min(ts), count() FROM cityfleet.latest", "1\t42"),
    ("WITH x AS (SELECT * FROM cityfleet.sites) SELECT count() FROM x", "40"),
    ("WITH (SELECT count() FROM cityfleet.sites) AS x SELECT x", "40"),
    ("SELECT sum(c) FROM (SELECT count() AS c FROM cityfleet.sites UNION ALL SELECT count() FROM cityfleet.latest)",
     "82"),
    ("SELECT count() FROM (SELECT * FROM cityfleet.sites EXCEPT SELECT * FROM cityfleet.sites WHERE 0)", "40"),
    ("SELECT count() FROM cityfleet.sites AS a JOIN cityfleet.sites AS b ON a.site_num = b.site_num", "40"),
    ("SELECT count() FROM cityfleet.wards AS w JOIN cityfleet.sites AS s ON s.ward_code = w.ward_code", "40"),
    (f"SELECT count() FROM cityfleet.wards AS w LEFT JOIN cityfleet.sites AS s ON s.ward_code = w.ward_code "
     f"WHERE w.ward_code = '{OTHER}' AND s.site_id != ''", "0"),
    ("SELECT count() FROM cityfleet.metrics WHERE 5 IN (SELECT site_num FROM cityfleet.sites)", "0"),
    ("SELECT count() FROM cityfleet.metrics WHERE '5' IN (SELECT toString(site_num) FROM cityfleet.sites)", "0"),
    ("SELECT countIf(ward_code != '00070') FROM cityfleet.sites", "0"),
    ("SELECT count() FROM cityfleet.sites ARRAY JOIN [1, 2] AS x", "80"),
    ("SELECT x FROM (SELECT count() OVER () AS x FROM cityfleet.sites LIMIT 1)", "40"),
    ("SELECT count() FROM cityfleet.sites GROUP BY ward_code WITH ROLLUP ORDER BY 1", "40\n40"),
    ("SELECT count() FROM cityfleet.wards", "2"),
    ("SELECT countIf(total_rows > 0) FROM system.tables", "0"),
    ("SELECT countIf(database != 'ioc') FROM system.tables", "0"),
    ("SELECT count() FROM system.columns WHERE database = 'cityfleet'", "0"),
    ("SHOW TABLES FROM cityfleet", ""),
    ("SHOW TABLES FROM system", ""),
    ("SHOW DATABASES", "cityfleet\nioc"),
    ("SELECT sum(number) FROM numbers(4)", "6"),
    ("DESCRIBE ioc.sites FORMAT Null", ""),
    ("EXISTS ioc.latest", "1"),
    ("SELECT {w:String} || 'x'", "ax"),
    ("SELECT count() FROM {t:Identifier}", "40"),
    ("SELECT count() FROM cityfleet.{t:Identifier}", "40"),
    ("SELECT 'SELECT * FROM cityfleet.quarantine -- dictGet'", "SELECT * FROM cityfleet.quarantine -- dictGet"),
    ("SELECT 1 /* FROM system.parts */ -- x", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), COUNTS)
def test_answers_are_of_the_own_ward_and_of_what_is_public(ward: Ward, sql: str, expected: str) -> None:
    assert ward.query(sql, param_t="sites", param_w="a").rstrip("\n") == expected


REFUSED = [
    "SELECT * FROM cityfleet.quarantine",
    "SELECT * FROM `cityfleet`.`quarantine`",
    'SELECT * FROM "cityfleet"."quarantine"',
    "SELECT * FROM cityfleet/**/./**/quarantine",
    "SELECT * FROM cityfleet.`quarant\\x69ne`",
    "SELECT * FROM {q:Identifier}.{r:Identifier}",
    "SELECT * FROM cityfleet.{r:Identifier}",
    "FROM cityfleet.quarantine SELECT *",
    "(SELECT * FROM cityfleet.quarantine)",
    "SELECT * FROM ioc.latest UNION ALL SELECT * FROM cityfleet.quarantine",
    "SELECT (SELECT count() FROM cityfleet.quarantine)",
    "WITH x AS (SELECT * FROM cityfleet.quarantine) SELECT * FROM x",
    "WITH (SELECT count() FROM cityfleet.quarantine) AS x SELECT x",
    "SELECT 1 IN cityfleet.quarantine",
    "SELECT in(1, cityfleet.quarantine)",
    "SELECT 1 FROM ioc.latest WHERE device_id GLOBAL NOT IN cityfleet.quarantine",
    "SELECT count() FROM ioc.latest WHERE EXISTS (SELECT 1 FROM cityfleet.quarantine)",
    "SELECT * FROM ioc.latest ORDER BY (SELECT count() FROM cityfleet.quarantine)",
    "SELECT * FROM ioc.latest LIMIT (SELECT count() FROM cityfleet.quarantine)",
    "SELECT * REPLACE ((SELECT count() FROM cityfleet.quarantine) AS value) FROM ioc.latest",
    "SELECT * APPLY(x -> (SELECT count() FROM cityfleet.quarantine)) FROM ioc.latest",
    "SELECT COLUMNS('value') APPLY(toString) FROM ioc.latest",
    "SELECT sum(value) OVER (ORDER BY (SELECT count() FROM cityfleet.quarantine)) FROM ioc.latest",
    "SELECT value FROM ioc.latest QUALIFY (SELECT count() FROM cityfleet.quarantine) > 0",
    "SELECT value FROM ioc.latest ORDER BY value WITH FILL INTERPOLATE (value AS (SELECT 1 FROM cityfleet.quarantine))",
    "SELECT arrayMap(x -> (SELECT count() FROM cityfleet.quarantine), [1])",
    "SELECT * FROM ioc.latest JOIN cityfleet.quarantine USING (device_id)",
    "SELECT * FROM ioc.latest, cityfleet.quarantine",
    "DESCRIBE cityfleet.quarantine",
    "DESCRIBE (SELECT * FROM cityfleet.quarantine)",
    # Past the filter by an alias, by a setting.
    "SELECT * FROM cityfleet.sites AS `cityfleet.latest`",
    "SELECT * FROM cityfleet.sites AS `system.one`",
    "SELECT * FROM cityfleet.sites AS `x\nTableIdentifier cityfleet.wards`",
    "SELECT count() FROM cityfleet.sites SETTINGS additional_table_filters = {'cityfleet.sites': '1'}",
    "SELECT count() FROM cityfleet.sites SETTINGS additional_table_filters = {}",
    "SELECT count() FROM cityfleet.sites FORMAT TSV SETTINGS additional_table_filters = {}",
    "SELECT * FROM (SELECT count() FROM cityfleet.sites SETTINGS additional_table_filters = {})",
    "WITH x AS (SELECT 1 SETTINGS additional_table_filters = {}) SELECT count() FROM cityfleet.sites",
    "SELECT count() FROM cityfleet.sites SETTINGS optimize_trivial_count_query = 1",
    "SELECT count() FROM cityfleet.sites SETTINGS readonly = 0",
    "SELECT count() FROM cityfleet.sites SETTINGS dialect = 'prql'",
    "SET additional_table_filters = {}",
    "SET readonly = 0",
    "SET additional_table_filters = {}; SELECT count() FROM cityfleet.sites",
    "SELECT 1; SELECT * FROM cityfleet.quarantine",
    "SELECT count() FROM cityfleet.sites PREWHERE ward_code = '00004'",
    "SELECT count() FROM (SELECT * FROM cityfleet.sites PREWHERE 1)",
    # Table functions.
    "SELECT * FROM merge('cityfleet', 'sites')",
    "SELECT * FROM merge('^cityfleet$', '.*')",
    "SELECT * FROM MERGE(cityfleet, 'sites')",
    "SELECT * FROM `merge`('cityfleet', 'sites')",
    "SELECT * FROM mergeTreeIndex('cityfleet', 'sites')",
    "SELECT * FROM mergeTreeProjection('cityfleet', 'sites', 'x')",
    "SELECT * FROM mergeTreeTextIndex('cityfleet', 'sites', 'x')",
    "SELECT * FROM mergeTreeAnalyzeIndexes('cityfleet', 'sites')",
    "SELECT * FROM loop('cityfleet', 'sites') LIMIT 1",
    "SELECT * FROM loop(cityfleet.sites) LIMIT 1",
    "SELECT * FROM view(SELECT * FROM cityfleet.quarantine)",
    "SELECT * FROM viewIfPermitted(SELECT * FROM cityfleet.quarantine ELSE null('x String'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
    "SELECT * FROM (EXPLAIN ESTIMATE SELECT * FROM cityfleet.sites)",
    "SELECT * FROM remote('127.0.0.1', cityfleet.sites)",
    "SELECT * FROM cluster('default', cityfleet.sites)",
    "SELECT * FROM clusterAllReplicas('default', cityfleet.sites)",
    "SELECT * FROM dictionary('cityfleet.sites')",
    "SELECT * FROM input('x String')",
    "SELECT * FROM values('x String', 'a')",
    "SELECT * FROM format(TSV, 'x String', 'a')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM generateRandom('x String') LIMIT 1",
    "SELECT * FROM system('x')",
    "DESCRIBE merge('cityfleet', '.*')",
    "SELECT 1 IN (SELECT 1 FROM merge('cityfleet', '.*'))",
    # The engine's own tables.
    *(
        f"SELECT * FROM system.{name}"
        for name in (
            "parts", "parts_columns", "processes", "query_log", "query_thread_log", "part_log", "text_log", "merges",
            "mutations", "projection_parts", "detached_parts", "dropped_tables", "query_cache", "query_condition_cache",
            "data_skipping_indices", "session_log", "users", "row_policies", "grants", "roles", "quotas", "disks",
            "storage_policies", "server_settings", "merge_tree_settings", "errors", "metrics", "events", "dictionaries",
            "asynchronous_metrics", "asynchronous_inserts", "trace_log", "replicas", "remote_data_paths",
            "settings_changes", "part_moves_between_shards", "user_processes", "crash_log", "warnings", "stack_trace",
            "view_refreshes",
        )
    ),
    "SELECT * FROM `system`.`parts`",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM INFORMATION_SCHEMA.COLUMNS",
    "SELECT * FROM default.x",
    # Functions.
    "SELECT dictGet('cityfleet.sites', 'display_name', 1)",
    "SELECT `dictGet`('cityfleet.sites', 'display_name', 1)",
    "SELECT DICTGETORNULL('cityfleet.sites', 'display_name', 1)",
    "SELECT dictHas('cityfleet.sites', 1)",
    "SELECT joinGet('cityfleet.sites', 'display_name', 1)",
    "SELECT joinGet('cityfleet.device_numbers', 'device_num', '4')",
    "SELECT * FROM cityfleet.device_numbers",
    "SELECT 1 AS one FROM cityfleet.sites ANY LEFT JOIN cityfleet.device_numbers USING device_id",
    "SELECT joinGetOrNull('cityfleet.sites', 'display_name', 1)",
    "SELECT hasColumnInTable('cityfleet', 'quarantine', 'payload')",
    "SELECT file('/etc/passwd')",
    "SELECT sleep(3)",
    "SELECT sleepEachRow(1) FROM cityfleet.sites",
    "SELECT getServerSetting('max_connections')",
    "SELECT hostName()",
    "SELECT filesystemAvailable()",
    "SELECT logTrace('x')",
    # Where other rows lie.
    "SELECT _part, _part_offset FROM cityfleet.sites",
    "SELECT `_part_offset` FROM cityfleet.sites",
    "SELECT s._part_offset FROM cityfleet.sites AS s",
    "SELECT _block_number FROM cityfleet.sites",
    # Plans and definitions.
    "EXPLAIN SELECT * FROM cityfleet.sites",
    "EXPLAIN ESTIMATE SELECT * FROM cityfleet.sites",
    "EXPLAIN indexes = 1 SELECT * FROM cityfleet.sites",
    "EXPLAIN PIPELINE SELECT * FROM cityfleet.sites",
    "EXPLAIN AST SELECT * FROM cityfleet.sites",
    "EXPLAIN QUERY TREE SELECT * FROM cityfleet.sites",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') PARTITION BY x",
    "SHOW CREATE TABLE cityfleet.sites",
    "SHOW CREATE VIEW ioc.sites",
    "SHOW PROCESSLIST",
    "SHOW MERGES",
    "SHOW INDEX FROM sites FROM cityfleet",
    "SHOW GRANTS",
    "SHOW ACCESS",
    "SHOW SETTINGS LIKE '%'",
    "SHOW DICTIONARIES",
    "SHOW TABLES FROM ioc INTO OUTFILE 'x'",
    "CHECK TABLE cityfleet.sites",
    # Changes, and files.
    "INSERT INTO cityfleet.sites (site_num) VALUES (1)",
    "INSERT INTO cityfleet.sites (site_num) SELECT 1",
    "INSERT INTO cityfleet.sites FROM INFILE '/etc/passwd' FORMAT CSV",
    "SELECT 1 INTO OUTFILE 'x'",
    "CREATE TEMPORARY TABLE t (a Int8)",
    "CREATE VIEW ioc.t AS SELECT 1",
    "CREATE FUNCTION t AS x -> x",
    "DROP TABLE cityfleet.sites",
    "ALTER TABLE cityfleet.sites DELETE WHERE 1",
    "DELETE FROM cityfleet.sites WHERE 1",
    "OPTIMIZE TABLE cityfleet.sites",
    "KILL QUERY WHERE 1",
    "SYSTEM RELOAD CONFIG",
    "EXECUTE AS default SELECT 1",
    "BACKUP TABLE cityfleet.sites TO Disk('default', 'x')",
    "GRANT SELECT ON *.* TO ward_00070",
]  # fmt: skip


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_not_for_wards_is_refused(ward: Ward, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        ward.query(sql, param_q="cityfleet", param_r="quarantine")
    assert caught.value.status in (400, 403, 404, 500, 501), str(caught.value)
    assert caught.value.code in (42, 46, 48, 60, 62, 81, 164, 392, 497, 1002), str(caught.value)
    assert MARKER not in str(caught.value).replace(sql, "")


# {x} fails on every text of the other ward and on none of the own one's, wherever it is evaluated.
ORACLES = [
    "SELECT count() FROM {t} WHERE {x} >= 0",
    "SELECT count() FROM {t} WHERE small AND {x} >= 0",
    "SELECT count() FROM (SELECT * FROM {t} WHERE {x} >= 0)",
    "SELECT count() FROM (SELECT {x} AS v FROM {t}) WHERE v > 3",
    "SELECT sum({x}) FROM {t}",
    "SELECT {x} AS v, count() FROM {t} GROUP BY v ORDER BY v LIMIT 3",
    "SELECT count() FROM {t} GROUP BY {x} WITH TOTALS",
    "SELECT {f} FROM {t} ORDER BY {x} LIMIT 3",
    "SELECT {f} FROM {t} ORDER BY {x} DESC LIMIT 1 BY {f}",
    "SELECT DISTINCT {x} FROM {t} LIMIT 5",
    "SELECT DISTINCT ON ({x}) {f} FROM {t}",
    "SELECT {f} FROM {t} LIMIT 1 BY {x}",
    "SELECT count() FROM {t} AS a JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f})",
    "SELECT count() FROM {t} AS a LEFT JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f})",
    "SELECT count() FROM {t} AS a RIGHT JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f}) AND toUInt64(b.{f}) > 3",
    "SELECT count() FROM {t} AS a FULL JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f})",
    "SELECT count() FROM {t} AS a JOIN {t} AS b ON a.{f} = b.{f} AND toUInt64(a.{f}) > 3 AND toUInt64(b.{f}) > 3",
    "SELECT count() FROM {t} AS a JOIN {t} AS b ON a.{f} = b.{f} WHERE toUInt64(a.{f}) > 3",
    "SELECT count() FROM {t} AS a SEMI JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f})",
    "SELECT count() FROM {t} AS a ANTI JOIN {t} AS b ON toUInt64(a.{f}) = toUInt64(b.{f})",
    "SELECT count() FROM {t} AS a JOIN numbers(3) AS n ON toUInt64(a.{f}) = n.number",
    "SELECT count() FROM numbers(3) AS n JOIN {t} AS a ON toUInt64(a.{f}) = n.number",
    "SELECT count() FROM {t} WHERE {x} IN (SELECT number FROM numbers(50))",
    "SELECT count() FROM numbers(50) WHERE number IN (SELECT {x} FROM {t})",
    "SELECT count() FROM {t} ARRAY JOIN range({x} % 3) AS r",
    "SELECT count() FROM {t} ARRAY JOIN [1] AS r WHERE {x} + r > 3",
    "SELECT arrayJoin(range({x} % 3)) AS r FROM {t} WHERE r > 0",
    "SELECT sum({x}) OVER (ORDER BY {x}) AS s FROM {t} LIMIT 3",
    "SELECT {f} FROM {t} QUALIFY row_number() OVER (PARTITION BY {x} ORDER BY {f}) = 1 LIMIT 3",
    "SELECT count() FROM {t} HAVING sum({x}) > 0",
    "SELECT countIf({x} > 3), sumIf(1, {x} > 3), argMax({f}, {x}) FROM {t}",
    "SELECT count() FROM (SELECT {f} FROM {t} UNION ALL SELECT {f} FROM {t}) WHERE {x} > 3",
    "SELECT count() FROM (SELECT DISTINCT {f} FROM {t}) WHERE {x} > 3",
    "SELECT count() FROM (SELECT {f}, count() FROM {t} GROUP BY {f}) WHERE {x} > 3",
    "SELECT count() FROM (SELECT {f} FROM {t} ORDER BY {f}) WHERE {x} > 3",
    "SELECT count() FROM (SELECT {f} FROM {t} LIMIT 1000000) WHERE {x} > 3",
    "WITH v AS (SELECT {x} AS w FROM {t}) SELECT count() FROM v AS a JOIN v AS b USING (w)",
    "SELECT if({x} > 3, 1, 2) AS v FROM {t} GROUP BY ALL",
    "SELECT count() FROM {t} WHERE throwIf({f} LIKE 'secret%') = 0",
    "SELECT count() FROM {t} WHERE throwIf(kind LIKE 'secret%') = 0",
    "SELECT throwIf(kind LIKE 'secret%') FROM {t} LIMIT 3",
    "SELECT max(length(repeat(substring({f}, 1, 9), if(ward_code = '00070', 1, 1000000000)))) FROM {t} WHERE 1",
]
TABLES = [
    ("cityfleet.sites", "display_name", "site_num < 1000"),
    ("(SELECT * FROM cityfleet.sites FINAL)", "site_id", "site_num < 1000"),
    ("ioc.sites", "display_name", "state != 'x'"),
    ("cityfleet.readings_text", "value", "device_num < 1000"),
    ("ioc.readings_text", "value", "device_num < 1000"),
]


@pytest.mark.parametrize("template", ORACLES)
@pytest.mark.parametrize(("table", "field", "small"), TABLES)
def test_no_error_tells_of_other_rows(ward: Ward, template: str, table: str, field: str, small: str) -> None:
    sql = template.format(t=table, f=field, x=f"toUInt64({field})").replace("small", small)
    try:
        answer = ward.query(sql)
    except QueryError as failed:
        # What the engine does not offer it says whoever asks, before it has read a row.
        assert failed.code in (36, 47, 48, 53, 62, 403), str(failed)
        assert MARKER not in str(failed).replace(sql, "")
    else:
        assert MARKER not in answer


def test_summaries_and_statistics_do_not_count_what_was_read(ward: Ward) -> None:
    answer = ward.query("SELECT site_id FROM cityfleet.sites WHERE site_num = 5 FORMAT JSON")
    assert '"statistics"' not in answer
    assert '"read_rows":"0"' in ward.headers["X-ClickHouse-Summary"]
    ward.query("SELECT 1 FORMAT JSON", output_format_write_statistics=1)


@pytest.mark.parametrize(
    "name",
    ["additional_table_filters", "readonly", "max_rows_to_read", "max_bytes_to_read", "use_query_cache", "extremes",
     "optimize_trivial_count_query", "allow_ddl", "max_memory_usage", "dialect", "use_skip_indexes", "profile"],
)  # fmt: skip
def test_settings_in_the_url_stay_shut(ward: Ward, name: str) -> None:
    with pytest.raises(QueryError) as caught:
        ward.query("SELECT count() FROM cityfleet.sites", **{name: "1"})
    assert caught.value.code in (115, 164)


def test_limits_may_be_lowered_and_not_raised(ward: Ward) -> None:
    sql = "SELECT value FROM system.settings WHERE name = 'max_execution_time'"
    assert ward.query(sql, max_execution_time=3).strip() == "3"
    for asked in ("100000", "0", "-1", "nan", "inf"):
        assert ward.query(sql, max_execution_time=asked).strip() == "20"
    with pytest.raises(QueryError) as caught:
        ward.query("SELECT number FROM numbers(5000000) FORMAT Null", max_result_rows=0)
    assert caught.value.code == 396


def test_a_database_of_the_request_is_only_a_name(ward: Ward) -> None:
    assert ward.query("SELECT count() FROM sites", database="cityfleet").strip() == "40"
    for database, table in (("system", "parts"), ("cityfleet", "quarantine"), ("default", "x")):
        with pytest.raises(QueryError) as caught:
            ward.query(f"SELECT * FROM {table}", database=database)
        assert caught.value.code in (60, 497)
    with pytest.raises(QueryError) as caught:
        ward.query("SELECT 1 IN quarantine", database="cityfleet")
    assert caught.value.code == 497


def test_an_answer_of_the_city_is_not_given_to_a_ward(city: StoreHandle, ward: Ward) -> None:
    sql = "SELECT count() FROM cityfleet.sites"
    for _ in range(2):
        assert city.query(sql, use_query_cache=1).strip() == "80"
        assert ward.query(sql).strip() == "40"


def test_what_a_ward_asked_changes_no_answer_of_the_city(city: StoreHandle, ward: Ward) -> None:
    sql = f"SELECT count() FROM cityfleet.readings_text WHERE value LIKE '{MARKER}-%'"
    for _ in range(3):
        assert ward.query(sql).strip() == "0"
        assert city.query(sql).strip() == "4000"


def test_a_new_account_can_ask_at_once_and_a_removed_one_no_more(city: StoreHandle) -> None:
    both = Ward(city, "both", account(city, "both", OWN, OTHER))
    assert both.query("SELECT count() FROM cityfleet.sites").strip() == "80"
    old, new = both, Ward(city, "both", account(city, "both", OTHER))
    assert new.query("SELECT count() FROM cityfleet.sites").strip() == "40"
    with pytest.raises(QueryError) as caught:
        old.query("SELECT 1")
    assert (caught.value.code, caught.value.status) == (516, 403)


def test_a_broken_accounts_file_changes_nothing(city: StoreHandle, ward: Ward) -> None:
    path = Path(city.data_dir) / "store" / "access" / "accounts.json"
    kept = path.with_suffix(".kept")
    shutil.copy(path, kept)
    path.write_text("{")
    assert ward.query("SELECT 1").strip() == "1"
    kept.replace(path)
    assert ward.query("SELECT 1").strip() == "1"


def test_everything_declared_can_be_asked_and_shows_nothing_of_others(city: StoreHandle, ward: Ward) -> None:
    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        return city.query(sql, "admin").rstrip("\n")

    for table in tables(ask):
        if declared().of(table.name) is Rule.HIDDEN:
            with pytest.raises(QueryError):
                ward.query(f"SELECT * FROM {table.name} LIMIT 1")
            continue
        arguments = {name: _EXAMPLES[kind.split("(")[0]] for name, kind in _PARAMETER.findall(table.definition)}
        called = f"{table.name}({', '.join(f'{name} = {value}' for name, value in arguments.items())})"
        answer = ward.query(f"SELECT * FROM {called if arguments else table.name} FORMAT TSV")
        # Devices 1 and 3 are the other ward's gauges at the river, which are public.
        assert set(re.findall(rf"{MARKER}-(\d+)", answer)) <= {"1", "3"}, table.name


def test_a_client_of_others_asks_as_a_ward(city: StoreHandle) -> None:
    password = account(city, "client", OWN)
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=city.port, username="client", password=password, autogenerate_session_id=False
    )
    try:
        found = client.query(
            "SELECT device_id, value FROM latest WHERE ward_code = {ward:String} ORDER BY value DESC LIMIT 1",
            parameters={"ward": OWN},
        )
        assert found.result_rows == [("78", 78.0)]
        assert client.query("SELECT count() FROM cityfleet.sites").result_rows == [(40,)]
        with pytest.raises(DatabaseError):
            client.query("SELECT * FROM cityfleet.quarantine")
    finally:
        client.close()


def test_the_city_tier_still_sees_all(city: StoreHandle) -> None:
    assert city.query("SELECT count() FROM cityfleet.sites").strip() == "80"
    assert city.query("SELECT count() FROM cityfleet.readings").strip() == "80"
