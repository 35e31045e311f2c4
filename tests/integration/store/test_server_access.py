"""Accounts of wards on a real ClickHouse server; skipped unless CITYFLEET_TEST_CLICKHOUSE names one to play with."""

import os
from collections.abc import Mapping
from urllib import error, parse, request

import pytest

from store import migrate, views
from store.access import accounts, ddl
from store.access.check import tables
from store.access.conditions import public_rows
from store.access.declared import declared
from store.settings import AccessSettings
from tests.support.store import StoreHandle

SERVER = os.environ.get("CITYFLEET_TEST_CLICKHOUSE", "")
USER = "ward_00070"


def _ask_as(user: str, password: str, sql: str, params: Mapping[str, str] | None = None) -> str:
    """Raises urllib.error.HTTPError."""
    parts = parse.urlsplit(SERVER)
    values = {f"param_{name}": value for name, value in (params or {}).items()}
    url = f"{parts.scheme}://{parts.hostname}:{parts.port or 8123}/?{parse.urlencode(values)}"
    asked = request.Request(url, data=sql.encode())
    asked.add_header("X-ClickHouse-User", user)
    asked.add_header("X-ClickHouse-Key", password)
    with request.urlopen(asked, timeout=60) as answer:
        text: str = answer.read().decode().rstrip("\n")
    return text


def _ask(sql: str, params: Mapping[str, str] | None = None) -> str:
    parts = parse.urlsplit(SERVER)
    return _ask_as(parts.username or "default", parts.password or "", sql, params)


@pytest.mark.skipif(not SERVER, reason="no ClickHouse server is named")
def test_a_server_shows_a_ward_its_rows_only() -> None:
    migrate.apply(_ask, "single")
    views.apply(_ask, "single")
    account, password = accounts.made(USER, ["00070"])
    _ask("INSERT INTO cityfleet.sites (site_num, ward_code, version) VALUES (1, '00070', 1), (2, '00004', 1)")
    run = ddl.statements(declared(), tables(_ask), [account], public_rows(_ask, declared()), AccessSettings())
    try:
        for statement in [*run, *run]:
            _ask(statement)
        for name in ("cityfleet.sites", "ioc.sites"):
            assert _ask_as(USER, password, f"SELECT uniqExact(ward_code), any(ward_code) FROM {name}") == "1\t00070"
        assert int(_ask("SELECT uniqExact(ward_code) FROM cityfleet.sites")) >= 2
        for sql in (
            "SELECT * FROM cityfleet.quarantine",
            "SELECT * FROM merge('cityfleet', '.*')",
            "SELECT * FROM system.query_log",
            "SELECT 1 SETTINGS readonly = 0",
            "DROP TABLE cityfleet.sites",
        ):
            with pytest.raises(error.HTTPError):
                _ask_as(USER, password, sql)
    finally:
        for statement in ddl.removal(USER):
            _ask(statement)


def test_every_statement_for_a_server_is_one_that_the_engine_can_parse(store: StoreHandle) -> None:
    account, _ = accounts.made(USER, ["00070", "00004"])

    def ask(sql: str, params: Mapping[str, str] | None = None) -> str:
        values = {f"param_{name}": value for name, value in (params or {}).items()}
        return store.query(sql, "admin", **values).rstrip("\n")

    found = tables(ask)
    for on_cluster in ("", "ON CLUSTER 'city'"):
        run = ddl.statements(
            declared(), found, [account], public_rows(ask, declared()), AccessSettings(), on_cluster
        ) + ddl.removal(USER, on_cluster)
        assert len(run) > 50
        for statement in run:
            assert ask("SELECT formatQuerySingleLine({text:String})", {"text": statement.replace("\\", "\\\\")})
