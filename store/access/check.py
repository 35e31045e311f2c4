"""Is there a rule for everything that is there, and does what is there fit its rule?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from store.access.declared import Rule, Visibility
from store.migrate import Ask
from store.numbers import TABLES as NUMBERS

_TABLES = (
    "SELECT database, name, engine, hex(create_table_query), hex(as_select) FROM system.tables "
    "WHERE database IN ('cityfleet', 'ioc') AND NOT is_temporary ORDER BY database, name"
)
_COLUMNS = (
    "SELECT concat(database, '.', table), groupArray(name) FROM system.columns "
    "WHERE database IN ('cityfleet', 'ioc') GROUP BY 1"
)
# Where a stored view names a table, its database stands before it.
_NAMED = re.compile(r"(?<![\w.`'\"])`?(cityfleet|ioc|system|default|information_schema)`?\.`?(\w+)`?", re.IGNORECASE)
_STRING = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_REACHES_FURTHER = re.compile(
    r"\b(dictGet\w*|dictHas|joinGet\w*|merge|remote\w*|cluster\w*|url\w*|file|s3\w*)\s*\(", re.I
)
# A number by its name shows no row.
_NUMBER = re.compile(rf"\bjoinGet\('({'|'.join(map(re.escape, sorted(NUMBERS)))})', ")


@dataclass(frozen=True, slots=True)
class Problem:
    """`name` is `database.table`; `what` is a sentence."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Table:
    """One table or view that the store has."""

    name: str
    engine: str
    definition: str
    select: str
    columns: tuple[str, ...]

    @property
    def is_view(self) -> bool:
        return self.engine == "View"


def tables(ask: Ask) -> list[Table]:
    """What is in our databases."""
    columns = {}
    for line in ask(_COLUMNS).splitlines():
        name, names = line.split("\t")
        columns[name] = tuple(re.findall(r"'(\w+)'", names.replace("\\'", "'")))
    found = []
    for line in ask(_TABLES).splitlines():
        database, table, engine, definition, select = line.split("\t")
        name = f"{database}.{table}"
        text = bytes.fromhex(definition).decode(), bytes.fromhex(select).decode()
        found.append(Table(name, engine, *text, columns.get(name, ())))
    return found


def problems(found: Iterable[Table], visibility: Visibility) -> list[Problem]:
    """What a person must mend, in order of name."""
    there = {table.name: table for table in found}
    # A server has no tables of numbers.
    missing = visibility.rules.keys() - there.keys() - NUMBERS
    listed = [Problem(name, "is declared and not there") for name in missing]
    for name, table in there.items():
        if name not in visibility.rules:
            listed.append(Problem(name, f"has no rule in visibility.toml ({table.engine})"))
        else:
            listed += [Problem(name, what) for what in _misfits(table, visibility)]
    return sorted(listed, key=lambda problem: (problem.name, problem.what))


def _misfits(table: Table, visibility: Visibility) -> list[str]:
    rule = visibility.of(table.name)
    if rule is Rule.HIDDEN:
        return []
    if table.is_view != (rule is Rule.VIEW):
        return [f"is a {table.engine}: its rule cannot be {rule}"]
    if table.engine == "MaterializedView":
        return [f"is a MaterializedView, which reads as its maker: its rule cannot be {rule}"]
    if table.engine == "Dictionary" and rule is not Rule.PUBLIC:
        return [f"is a dictionary, which has no rows to choose from: its rule cannot be {rule}"]
    if not table.is_view:
        return [f"has no column {column}" for column in rule.columns if column not in table.columns]
    return _misfits_of_view(table, visibility)


def _misfits_of_view(view: Table, visibility: Visibility) -> list[str]:
    misfits = []
    if not re.search(r"\bSQL SECURITY INVOKER\b", view.definition):
        misfits.append("does not say SQL SECURITY INVOKER: it could read as its maker")
    bare = _STRING.sub("''", _NUMBER.sub("", view.select))
    for database, table in sorted(set(_NAMED.findall(bare))):
        if visibility.of(f"{database}.{table}") is Rule.HIDDEN:
            misfits.append(f"reads {database}.{table}, which is hidden: accounts of wards get an error")
    misfits += [
        f"calls {call}, which row conditions do not reach" for call in sorted(set(_REACHES_FURTHER.findall(bare)))
    ]
    return misfits
