"""Nothing of another ward comes to a ward's account through any table, rollup or view once all is computed."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from store.access.check import tables
from store.access.declared import Rule, declared
from store.reference_data import load_own
from store.rollup import step
from store.rollup.runner import Runner
from tests.support.city_rollups import Ask, add_devices, add_metrics, add_type, add_wards
from tests.support.store import QueryError, StoreHandle, running_store
from tests.support.wards import MARKER, OTHER, OWN, Ward, account

METRICS = (
    "street_flood_depth_mm", "rain_mm", "speed_km_h", "vehicle_count", "occupancy_pct", "pm2_5_ug_m3", "battery_pct",
)  # fmt: skip
OWN_DEVICES, OTHER_DEVICES, SAMPLES = 2, 30, 24
# What the other ward measures is beyond this, and so is every sum of it; so is how many readings it has.
BIG, MANY = 40_000, OWN_DEVICES * SAMPLES * len(METRICS) + 1
_NAMES = sorted(name for name, rule in declared().rules.items() if rule is not Rule.HIDDEN)
# Public metrics and types are not measured here.
_OF_WARDS = sorted(name for name, rule in declared().rules.items() if "ward_code" in rule.columns)
# Numbers that are no measurement and no count of one.
_NO_MEASURE = re.compile(r"_(s|num|min|code|days_left)$|^(version|lat|lon|latitude|longitude|wards_n)$")
# Parameters of views.
_PARAMETER = re.compile(r"\{(\w+):(\w+(?:\([^}]*\))?)\}")


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Iterator[StoreHandle]:
    """Two wards that measure all there is for four hours; the other one's values are enormous, and it is heard last."""
    quota = {"CITYFLEET_STORE__ACCESS__QUERIES_PER_MINUTE": "100000"}
    quota["CITYFLEET_STORE__ACCESS__EXECUTION_S_PER_MINUTE"] = "100000"
    quota["CITYFLEET_STORE__ACCESS__MAX_EXECUTION_S"] = "200"
    with running_store(tmp_path_factory.mktemp("wards"), CITYFLEET_STORE__ROLLUP__ENABLED="false", **quota) as store:
        ask = Ask(store)
        load_own(ask)
        add_metrics(store, {name: 50 + at for at, name in enumerate(METRICS)})
        add_type(store, 1, "post", list(range(50, 50 + len(METRICS))), 600)
        add_type(store, 2, "gateway", [56], 600)
        add_wards(store, {OWN: "Hoàn Kiếm", OTHER: "Ba Đình"})
        # A gateway of the own ward speaks for devices of both; labels and sites are alike.
        mine = {100 + at: (OWN, f"own-{at}") for at in range(OWN_DEVICES)}
        others = {10 + at: (OTHER, f"{MARKER}-{at}") for at in range(OTHER_DEVICES)}
        add_devices(
            store,
            [
                {"device_num": num, "device_id": name, "display_name": name, "device_type": "post", "ward_code": ward,
                 "gateway_id": "own-gw", "site_id": name, "latitude": 21.03, "longitude": 105.85,
                 "labels": {"vendor": "acme", "firmware": "1.0" if ward == OWN else MARKER},
                 "expected_interval_s": 600, "create_time": f"{now - timedelta(days=1):%F %T}"}
                for num, (ward, name) in (mine | others).items()
            ]
            + [{"device_num": 99, "device_id": "own-gw", "device_type": "gateway", "ward_code": OWN}],
        )  # fmt: skip
        newest = {OWN: now - timedelta(minutes=12), OTHER: now - timedelta(minutes=2)}
        for first, count, ward, value in (
            (100, OWN_DEVICES, OWN, "if(metric_num = 50, 150, if(metric_num = 56, 15, 20))"),
            (10, OTHER_DEVICES, OTHER, f"{BIG + 1000}"),
        ):
            rows = (
                f"SELECT {first} + number % {count} AS device_num, "
                f"50 + intDiv(number, {count}) % {len(METRICS)} AS metric_num, "
                f"toDateTime64('{newest[ward]:%F %T}', 3, 'UTC') - intDiv(number, {count * len(METRICS)}) * 600 AS ts, "
                f"{value} AS value, if(number % 7 = 0, 3, 1) AS quality, 0 AS quality_reasons, '{ward}' AS ward_code, "
                f"ts + 1 AS received_at FROM numbers({count * len(METRICS) * SAMPLES})"
            )
            columns = "(device_num, metric_num, ts, value, quality, quality_reasons, ward_code, received_at)"
            store.query(f"INSERT INTO cityfleet.readings {columns} {rows}", "admin")
            latest = f"SELECT * FROM ({rows}) ORDER BY ts DESC LIMIT 1 BY device_num, metric_num"
            store.query(f"INSERT INTO cityfleet.latest {columns} {latest}", "admin")
            store.query(
                "INSERT INTO cityfleet.alarm_actions (ward_code, domain, object_id, since_ts, action, acted_at, who) "
                f"SELECT '{ward}', 'devices', 'x', now64(3), 'closed', now64(3), '{MARKER if ward == OTHER else ward}'",
                "admin",
            )
        # What no step fills, but the registry.
        for table in ("device_reported", "sites"):
            columns = "device_num, firmware_version" if table == "device_reported" else "site_num, site_id"
            store.query(
                f"INSERT INTO cityfleet.{table} ({columns}, ward_code, version) SELECT number, "
                f"if(number = 100, 'x', '{MARKER}'), if(number = 100, '{OWN}', '{OTHER}'), 1 "
                "FROM (SELECT arrayJoin([100, 10]) AS number)",
                "admin",
            )
        Runner(ask, step.load(), grace_s=0, settle_s=0).run()
        # What steps give after a day only: a row is there all the same, or nothing would be proved of them.
        for name in _OF_WARDS:
            if store.query(f"SELECT countIf(ward_code = '{OTHER}') FROM {name}", "admin").strip() == "0":
                store.query(f"INSERT INTO {name} (ward_code) SELECT '{OTHER}'", "admin")
        yield store


@pytest.fixture(scope="module")
def ward(city: StoreHandle) -> Ward:
    return Ward(city, "ward_00070", account(city, "ward_00070", OWN))


@pytest.fixture(scope="module")
def definitions(city: StoreHandle) -> dict[str, str]:
    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        return city.query(sql, "admin").rstrip("\n")

    return {table.name: table.definition for table in tables(ask)}


def called(name: str, definition: str, now: datetime) -> str:
    """A view with its parameters: the last day."""
    values = {
        "from": f"'{now - timedelta(days=1):%F %T}'", "to": f"'{now + timedelta(minutes=1):%F %T}'",
        "at": f"'{now:%F %T}'", "device_id": f"'{MARKER}-1'", "metric": "'rain_mm'",
    }  # fmt: skip
    asked = {one: values[one] for one, _ in _PARAMETER.findall(definition)}
    return f"{name}({', '.join(f'{one} = {value}' for one, value in asked.items())})" if asked else name


@pytest.mark.parametrize("name", _NAMES)
def test_an_answer_has_nothing_of_the_other_ward(
    ward: Ward, definitions: dict[str, str], now: datetime, name: str
) -> None:
    text = ward.query(f"SELECT * FROM {called(name, definitions[name], now)} FORMAT TSVWithNames")
    assert MARKER not in text
    head, *rows = (line.split("\t") for line in text.splitlines())
    last = f"{now - timedelta(minutes=11, seconds=30):%F %T}"
    for row in rows:
        told = dict(zip(head, row, strict=True))
        # Public rows of every ward (names of wards, ranks) aside, what is said is of readings of the own ward.
        if name.startswith("ioc.") and name != "ioc.ward_effectiveness":
            assert told.get("as_of", "\\N") in ("\\N", "") or told["as_of"] < last, told
            assert told.get("n", "0") in ("\\N", "") or int(told.get("n", "0")) < MANY, told
            for column, value in told.items():
                if _NO_MEASURE.search(column) is None and re.fullmatch(r"-?\d+(\.\d+)?(e\+?\d+)?", value):
                    assert abs(float(value)) < BIG, (column, told)


FORMS = (
    "SELECT count() FROM {t} WHERE ward_code = '{o}'",
    "SELECT count() FROM (SELECT * FROM {t} UNION ALL SELECT * FROM {t}) WHERE ward_code = '{o}'",
    "SELECT count() FROM numbers(1) WHERE '{o}' IN (SELECT ward_code FROM {t})",
    "SELECT count() FROM cityfleet.wards AS w JOIN {t} AS x ON x.ward_code = w.ward_code WHERE w.ward_code = '{o}'",
    "WITH x AS (SELECT ward_code FROM {t} WHERE ward_code = '{o}' OR 1) SELECT countIf(ward_code != '{w}') FROM x",
)


@pytest.mark.parametrize("name", _OF_WARDS)
def test_no_form_of_a_question_counts_rows_of_the_other_ward(city: StoreHandle, ward: Ward, name: str) -> None:
    for form in FORMS:
        assert ward.query(form.format(t=name, o=OTHER, w=OWN)).strip() == "0", form


def test_hidden_tables_are_refused(ward: Ward) -> None:
    for name, rule in declared().rules.items():
        if rule is Rule.HIDDEN:
            with pytest.raises(QueryError):
                ward.query(f"SELECT 1 FROM {name} LIMIT 1")


def test_a_statement_that_was_fine_before_is_held_to_whoever_asks_it(city: StoreHandle, ward: Ward) -> None:
    other = Ward(city, "ward_of_others", account(city, "ward_of_others", OTHER))
    asked = "SELECT count() FROM cityfleet.readings"
    counts = [int(one.query(asked)) for one in (other, ward, other, ward)]
    assert counts[:2] == counts[2:]
    assert counts[0] > counts[1] > 0
    named = "SELECT count() FROM cityfleet.{table:Identifier}"
    assert ward.query(named, param_table="wards").strip() == "2"
    with pytest.raises(QueryError):
        ward.query(named, param_table="quarantine")


def test_a_name_that_was_no_table_before_is_refused_when_it_is_one(city: StoreHandle, ward: Ward) -> None:
    asked = "SELECT count() FROM made_later"
    with pytest.raises(QueryError):
        ward.query(asked)
    inner = "WITH made_later AS (SELECT 1) SELECT * FROM made_later"
    assert ward.query(inner).strip() == "1"
    city.query("CREATE TABLE ioc.made_later (x UInt8) ENGINE = MergeTree ORDER BY x", "admin")
    try:
        for one in (asked, inner):
            with pytest.raises(QueryError) as refused:
                ward.query(one)
            assert refused.value.code == 497
    finally:
        city.query("DROP TABLE ioc.made_later SYNC", "admin")
