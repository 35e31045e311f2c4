"""Reference data: what comes with cityfleet (reference/*.csv) and what the operator applies over it.

Rows of the operator win over rows of ours with the same key, also when ours come anew with a later version.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import structlog

from store.migrate import Ask, checksum

log = structlog.get_logger()
_FOLDER = Path(__file__).parent / "reference"
# By the sort key of each table.
TABLES: Mapping[str, tuple[str, ...]] = {
    "thresholds": ("scheme", "object", "parameter", "averaging", "level", "valid_from"),
    "stations": ("station_id",),
    "river_wards": ("river", "station_id", "ward_code", "valid_from"),
    "alarm_orders": ("order_ref", "river", "ward_code"),
    "aqi_breakpoints": ("scheme", "parameter", "averaging", "valid_from", "c_low"),
    "aqi_categories": ("scheme", "aqi_low"),
    "road_segments": ("segment_id",),
    "ward_codes": ("code", "valid_from"),
    "pcu_factors": ("metric",),
}
_OWN = frozenset({"origin", "version"})
_HIGHEST = {"UInt8": 255, "UInt16": 65535}
# Rows of one statement; they go as one parameter, which is part of a URL.
_ROWS = 200
_FIELD, _ROW = "\x1f", "\x1e"


class ReferenceError(Exception):
    """A file does not fit its table; its author must mend it."""


def parse(table: str, text: str, types: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a CSV file.

    Args:
        types: of the table's columns, by name in their order.
    Raises: ReferenceError, naming the line.
    """
    lines = csv.reader(text.removeprefix("\ufeff").splitlines())
    columns = next(lines, [])
    known = types.keys() - _OWN
    for name in columns:
        if name not in known:
            raise ReferenceError(f"{table} has no column {name!r}; it has {', '.join(c for c in types if c in known)}")
    if len(set(columns)) < len(columns):
        raise ReferenceError("a column is there twice")
    for name in TABLES[table]:
        if name not in columns:
            raise ReferenceError(f"column {name!r} is missing: rows of {table} are known by {', '.join(TABLES[table])}")
    rows: list[list[str]] = []
    seen: set[tuple[str, ...]] = set()
    for row in lines:
        if not row:
            continue
        if len(row) != len(columns):
            raise ReferenceError(f"line {lines.line_num}: {len(row)} values for {len(columns)} columns")
        for name, value in zip(columns, row, strict=True):
            _check(f"line {lines.line_num}, {name}", value, types[name])
        key = tuple(row[columns.index(name)] for name in TABLES[table])
        if key in seen:
            raise ReferenceError(f"line {lines.line_num}: {', '.join(key)} is there twice")
        seen.add(key)
        rows.append(row)
    return columns, rows


def types_of(ask: Ask, table: str) -> dict[str, str]:
    answer = ask(
        "SELECT name, type FROM system.columns WHERE database = 'cityfleet' AND table = {table:String} "
        "ORDER BY position",
        {"table": table},
    )
    return dict(_pair(line) for line in answer.splitlines())


def apply(ask: Ask, table: str, text: str) -> int:
    """Put the operator's rows of a CSV file into a table; `is_deleted` = 1 takes one away. Returns how many.

    Raises: ReferenceError; what `ask` does.
    """
    types = types_of(ask, table)
    columns, rows = parse(table, text, types)
    _insert(ask, table, columns, rows, types, "operator", _version(ask))
    return len(rows)


def load_own(ask: Ask, folder: Path = _FOLDER) -> list[str]:
    """Bring in the files that come with cityfleet and differ from what was; returns the names of their tables."""
    answer = ask("SELECT name, checksum FROM cityfleet.reference_files FINAL")
    known = dict(_pair(line) for line in answer.splitlines())
    texts = {table: path.read_text(encoding="utf-8") for table in TABLES if (path := folder / f"{table}.csv").exists()}
    changed = {table: text for table, text in texts.items() if known.get(table) != checksum(text)}
    if not changed:
        return []
    version = _version(ask)
    for table, text in changed.items():
        types = types_of(ask, table)
        columns, rows = parse(table, text, types)
        _insert(ask, table, columns, rows, types, "cityfleet", version)
        if table in known:
            names = ", ".join(name for name in types if name not in ("version", "is_deleted"))
            ask(
                f"INSERT INTO cityfleet.{table} ({names}, version, is_deleted) SELECT {names}, {version}, 1 "
                f"FROM cityfleet.{table} FINAL WHERE origin = 'cityfleet' AND version < {version}"
            )
    for table, text in changed.items():
        ask(
            "INSERT INTO cityfleet.reference_files (name, checksum) SELECT {name:String}, {checksum:String}",
            {"name": table, "checksum": checksum(text)},
        )
    log.info("reference_loaded", tables=sorted(changed))
    return list(changed)


def _insert(
    ask: Ask,
    table: str,
    columns: list[str],
    rows: list[list[str]],
    types: Mapping[str, str],
    origin: str,
    version: int,
) -> None:
    values = ", ".join(_cast(at, types[name]) for at, name in enumerate(columns, start=1))
    key = ", ".join(TABLES[table])
    # As a tuple of the row's own values: the names mean the table's columns in the subquery only.
    of_row = ", ".join(_cast(columns.index(name) + 1, types[name]) for name in TABLES[table])
    unless = f" WHERE ({of_row}) NOT IN (SELECT {key} FROM cityfleet.{table} FINAL WHERE origin = 'operator')"
    for at in range(0, len(rows), _ROWS):
        text = _ROW.join(_FIELD.join(row) for row in rows[at : at + _ROWS])
        ask(
            f"INSERT INTO cityfleet.{table} ({', '.join(columns)}, origin, version) "
            f"SELECT {values}, '{origin}', {version} FROM (SELECT splitByChar('{_FIELD}', arrayJoin("
            f"splitByChar('{_ROW}', {{rows:String}}))) AS r){unless if origin == 'cityfleet' else ''}",
            {"rows": text},
        )


def _cast(at: int, column_type: str) -> str:
    value = f"nullIf(r[{at}], '')" if column_type.startswith("Nullable(") else f"r[{at}]"
    return value if column_type in ("String", "LowCardinality(String)") else f"CAST({value}, '{_quoted(column_type)}')"


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")


def _check(where: str, value: str, column_type: str) -> None:
    if any(char in value for char in ("\\", "\t", "\n", "\r", _FIELD, _ROW)):
        raise ReferenceError(f"{where}: no backslash, tab or line break")
    inner = (
        column_type.removeprefix("Nullable(").removesuffix(")") if column_type.startswith("Nullable(") else column_type
    )
    if not value and column_type.startswith("Nullable("):
        return
    try:
        if inner.startswith("UInt") and not 0 <= int(value) <= _HIGHEST.get(inner, 1 << 63):
            raise ValueError
        if inner == "Float64":
            float(value)
    except ValueError:
        raise ReferenceError(f"{where}: {value!r} is no {inner}") from None


def _version(ask: Ask) -> int:
    return int(ask("SELECT toUnixTimestamp64Milli(now64(3))"))


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("\t")
    # Types hold quotes, which the answer escapes.
    return name, value.replace("\\'", "'")
