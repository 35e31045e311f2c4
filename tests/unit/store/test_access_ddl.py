"""What a server is told of accounts of wards is complete: a policy on every table, no grant on what is hidden."""

import re

from store.access import accounts, ddl
from store.access.check import Table
from store.access.conditions import PublicRows, condition, conditions
from store.access.declared import Rule, declared
from store.settings import AccessSettings

PUBLIC = PublicRows((7,), ("gauge-river",))
ACCOUNTS = [accounts.made("ward_00070", ["00070"])[0], accounts.made("both", ["00070", "00004"])[0]]
TABLES = [
    Table(name, "View" if rule is Rule.VIEW else "ReplacingMergeTree", "", "", rule.columns)
    for name, rule in declared().rules.items()
]


def _statements(on_cluster: str = "") -> list[str]:
    return ddl.statements(declared(), TABLES, ACCOUNTS, PUBLIC, AccessSettings(), on_cluster)


def test_every_table_that_is_not_public_has_a_policy_for_every_account_and_one_for_all_others() -> None:
    run = _statements()
    for name, rule in declared().rules.items():
        on_it = [text for text in run if re.search(rf"ROW POLICY .* ON {re.escape(name)} ", text)]
        if rule in (Rule.PUBLIC, Rule.VIEW):
            assert on_it == []
            continue
        assert any("USING 1 TO ALL EXCEPT cityfleet_ward" in text for text in on_it)
        for account in ACCOUNTS:
            mine = [text for text in on_it if text.endswith(f" TO {ddl.role_of(account.user)}")]
            assert len(mine) == (0 if rule is Rule.HIDDEN else 1)
            for text in mine:
                assert all(f"'{ward}'" in text for ward in account.wards)
                assert "SELECT" not in text
                assert "getSetting" not in text


def test_grants_name_each_table_and_nothing_that_is_hidden() -> None:
    granted = {text.split(" ON ")[1].split(" TO ")[0] for text in _statements() if text.startswith("GRANT SELECT")}
    assert granted == set(declared().shown())
    assert not any("*" in name for name in granted)
    assert "cityfleet.quarantine" not in granted


def test_policies_are_there_before_anybody_may_read() -> None:
    run = _statements()
    last_policy = max(at for at, text in enumerate(run) if "ROW POLICY" in text)
    first_grant = min(at for at, text in enumerate(run) if text.startswith(("GRANT", "CREATE USER")))
    assert last_policy < first_grant


def test_no_password_is_in_the_statements() -> None:
    account, password = accounts.made("ward_00004", ["00004"])
    run = ddl.statements(declared(), TABLES, [account], PUBLIC, AccessSettings())
    assert account.sha256 == accounts.hashed(password, account.salt)
    assert not any(password in text for text in run)
    assert sum(account.sha256 in text for text in run) == 2


def test_a_cluster_is_told_everywhere() -> None:
    assert all(" ON CLUSTER 'x'" in text for text in _statements("ON CLUSTER 'x'"))


def test_names_are_literals() -> None:
    odd = condition(Rule.WARD_AND_TYPE, ["00070"], PublicRows((7,), ("o'neill\\",)))
    assert odd == "(ward_code = '00070') OR (device_type = 'o\\'neill\\\\')"
    several = condition(Rule.WARD_AND_METRIC, ["00070", "00013"], PublicRows((7, 8), ()))
    assert several == "(ward_code IN ('00013', '00070')) OR (metric_num IN (7, 8))"


def test_what_is_not_declared_is_hidden() -> None:
    assert declared().of("cityfleet.stray") is Rule.HIDDEN
    found = conditions(declared(), ["00070"], PUBLIC)
    assert found["cityfleet.quarantine"] == "0"
    assert found["cityfleet.readings"] == "(ward_code = '00070') OR (metric_num = 7)"
    assert conditions(declared(), ["00070"], PublicRows())["cityfleet.readings"] == "ward_code = '00070'"
    assert "cityfleet.metrics" not in found
