"""Numbers of devices and metrics by their names, in the embedded engine's memory: views look them up without a query.

The registry never gives a name another number, so nothing is ever taken back. What it writes to the tables of devices
and metrics is here when that insert ends; what is here already is passed over, so that this grows by new names only,
some 100 bytes for each.
"""

from store.migrate import Ask

_JOIN = "Join(ANY, LEFT, {name}) SETTINGS join_any_take_last_row = 1, persistent = 0"
# Name and number, and the table that has both.
_KINDS = (
    ("device_numbers", "device_id", "device_num", "UInt32", "cityfleet.devices"),
    ("metric_numbers", "metric", "metric_num", "UInt16", "cityfleet.metrics"),
)
# What `establish` makes. Accounts of wards may not name these; views may.
TABLES = frozenset(f"cityfleet.{table}{of}" for table, *_ in _KINDS for of in ("", "_of_rows"))


def establish(ask: Ask) -> None:
    """Make and fill the tables, at every start, after the migrations and before the views."""
    for table, name, number, kind, source in _KINDS:
        ask(f"DROP TABLE IF EXISTS cityfleet.{table}_of_rows SYNC")
        ask(f"DROP TABLE IF EXISTS cityfleet.{table} SYNC")
        ask(f"CREATE TABLE cityfleet.{table} ({name} String, {number} {kind}) ENGINE = {_JOIN.format(name=name)}")
        ask(
            f"INSERT INTO cityfleet.{table} "  # noqa: S608
            f"SELECT {name}, argMax({number}, version) FROM {source} GROUP BY {name}"
        )
        ask(
            f"CREATE MATERIALIZED VIEW cityfleet.{table}_of_rows TO cityfleet.{table} AS "  # noqa: S608
            f"SELECT {name}, {number} FROM {source} "
            f"WHERE joinGet('cityfleet.{table}', '{number}', {name}) != {number}"
        )
