"""What was let through is not looked at again; each look of the formatter is a query in the engine's own log."""

from pathlib import Path

import pytest

from tests.support.registry import wait_until
from tests.support.store import QueryError, running_store

# Neither has a word for which it would be looked at itself.
LOOKS = "SELECT count() FROM system.query_log WHERE type = 'QueryFinish' AND startsWith(query, 'SELECT for')"
# What an account sent has a comment; what the store does itself when it starts has none.
INSERTS = (
    "SELECT count() FROM system.query_log WHERE type = 'QueryFinish' AND query_kind = 'Insert' AND log_comment != ''"
)
LOGGED_S = 30.0


def test_each_role_has_a_statement_looked_at_once_and_what_is_refused_every_time(tmp_path: Path) -> None:
    metrics = "INSERT INTO cityfleet.metrics (metric_num, metric, unit) FORMAT TSV\n"
    with running_store(tmp_path, CITYFLEET_STORE__EMBEDDED__LOG_DAYS="1") as store:
        for number in range(4):
            store.query(f"{metrics}{number}\tm{number}\tm\n", "writer")
        for number in range(4, 6):
            store.query(f"{metrics}{number}\tm{number}\tm\n", "admin")
            with pytest.raises(QueryError, match="READONLY"):
                store.query(f"{metrics}{number}\tm{number}\tm\n", "reader")
            with pytest.raises(QueryError, match="out of reach"):
                store.query("SELECT file('/etc/passwd')", "reader")
        store.query("INSERT INTO cityfleet.wards (ward_code, name) FORMAT TSV\n1\tone\n", "writer")
        for _ in wait_until("all inserts are logged", LOGGED_S):
            there = store.query("SELECT count() FROM system.tables WHERE database = 'system' AND name = 'query_log'")
            if there == "1\n" and store.query(INSERTS, "admin") == "7\n":
                break
        # Of the writer two, of the administrator one, and both that were refused.
        assert store.query(LOOKS, "admin") == "5\n"
