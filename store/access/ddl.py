"""What a ClickHouse server is told of accounts of wards: roles, grants, row policies, limits, users. Statements only.

A role `cityfleet_ward` has the grants, the quota and the settings; each account has a role of its own that holds it and
its literal row policies. Who has no role of a ward sees all rows, by a policy that says so: whether a server shows rows
to users whom no policy names is a setting. What is hidden has that policy too and no grant, so it is shut twice.
"""

from collections.abc import Iterable

from store.access.accounts import WardAccount
from store.access.check import Table
from store.access.conditions import PublicRows, condition, literal
from store.access.declared import Rule, Visibility
from store.settings import AccessSettings

WARDS = "cityfleet_ward"
ALL = "cityfleet_all"


def role_of(user: str) -> str:
    return f"{WARDS}_of_{user}"


def policies(
    visibility: Visibility, accounts: Iterable[WardAccount], public: PublicRows
) -> dict[tuple[str, str], tuple[str, str]]:
    """Every row policy there must be: (name, table) -> (its expression, whom it is for)."""
    found = {}
    chosen = [(name, rule) for name, rule in sorted(visibility.rules.items()) if rule not in (Rule.PUBLIC, Rule.VIEW)]
    for name, _ in chosen:
        found[ALL, name] = ("1", f"ALL EXCEPT {WARDS}")
    for account in accounts:
        role = role_of(account.user)
        for name, rule in chosen:
            if rule is not Rule.HIDDEN:
                found[role, name] = (condition(rule, account.wards, public), role)
    return found


def statements(
    visibility: Visibility,
    tables: Iterable[Table],
    accounts: Iterable[WardAccount],
    public: PublicRows,
    limits: AccessSettings,
    on_cluster: str = "",
) -> list[str]:
    """In the order in which they are to run; running them again changes nothing.

    Args:
        tables: those that the server has; a declared one that is not there is left out, `check` names it.
        on_cluster: `ON CLUSTER 'name'`, or "".
    """
    there = {table.name: table for table in tables}
    accounts = list(accounts)
    where = f" {on_cluster}" if on_cluster else ""
    run = [f"CREATE ROLE IF NOT EXISTS {WARDS}{where}"]
    run += [f"CREATE ROLE IF NOT EXISTS {role_of(account.user)}{where}" for account in accounts]
    # Policies before grants: nobody may read for a moment what he may not.
    for (name, table), (expression, whom) in policies(visibility, accounts, public).items():
        if table in there and there[table].engine != "MaterializedView":
            run.append(
                f"CREATE ROW POLICY OR REPLACE {name}{where} ON {table} AS PERMISSIVE USING {expression} TO {whom}"
            )
    run += [
        f"CREATE SETTINGS PROFILE OR REPLACE {WARDS}{where} SETTINGS {', '.join(_settings(limits))} TO {WARDS}",
        f"CREATE QUOTA OR REPLACE {WARDS}{where} KEYED BY user_name FOR INTERVAL 1 minute "
        f"MAX queries = {limits.queries_per_minute}, execution_time = {limits.execution_s_per_minute:g} TO {WARDS}",
        f"REVOKE{where} ALL ON *.* FROM {WARDS}",
    ]
    run += [f"GRANT{where} SELECT ON {name} TO {WARDS}" for name in visibility.shown() if name in there]
    for account in accounts:
        role = role_of(account.user)
        password = f"IDENTIFIED WITH sha256_hash BY {literal(account.sha256)} SALT {literal(account.salt)}"
        run += [
            f"GRANT{where} {WARDS} TO {role}",
            f"CREATE USER IF NOT EXISTS {account.user}{where} {password} DEFAULT DATABASE ioc",
            f"ALTER USER {account.user}{where} {password} DEFAULT DATABASE ioc",
            f"GRANT{where} {role} TO {account.user}",
        ]
    return run


def removal(user: str, on_cluster: str = "") -> list[str]:
    """What takes an account away. Policies of a role that is gone are for nobody."""
    where = f" {on_cluster}" if on_cluster else ""
    return [f"DROP USER IF EXISTS {user}{where}", f"DROP ROLE IF EXISTS {role_of(user)}{where}"]


def _settings(limits: AccessSettings) -> list[str]:
    lowerable = {
        "max_execution_time": f"{limits.max_execution_s:g}",
        "max_result_rows": str(limits.max_result_rows),
        "max_memory_usage": str(limits.max_memory_bytes),
        "max_threads": str(limits.max_threads),
    }
    return [
        "readonly = 1",
        *(f"{name} = {value} MIN 1 MAX {value} CHANGEABLE_IN_READONLY" for name, value in lowerable.items()),
        f"max_concurrent_queries_for_user = {limits.queries} CONST",
        # FINAL first: else the version of a row from before it left the ward would show.
        "apply_row_policy_after_final = 1 CONST",
        "use_query_cache = 0 CONST",
        "use_query_condition_cache = 0 CONST",
    ]
