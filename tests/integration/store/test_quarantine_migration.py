"""The table of before ids becomes the one with ids: every row once, and again after a run that broke off."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]
# In a process of its own: one engine per process.
_SCRIPT = """
import sys
from pathlib import Path
from store import migrate
from store.embedded.engine import Engine

folder = Path(sys.argv[1])
before = folder / "before"
before.mkdir()
for migration in migrate.load()[:7]:
    (before / f"{migration.number:04}_{migration.name}.sql").write_text(migration.text)
engine = Engine(folder / "store", 2)
ask = engine.ask
migrate.apply(ask, "single", before)
ask(
    "INSERT INTO cityfleet.quarantine (received_at, device_id, payload, readings) "
    "SELECT now64(3) - intDiv(number, 2), 'd', 'same', 3 FROM numbers(1000)"
)
statements = migrate.load()[7].statements("single")
for broken_off_after in range(len(statements)):
    for statement in statements[: broken_off_after + 1]:
        ask(statement)
migrate.apply(ask, "single")
ask("OPTIMIZE TABLE cityfleet.quarantine FINAL")
print(ask("SELECT count(), uniqExact(id), sum(readings) FROM cityfleet.quarantine FINAL"), file=sys.stderr)
print(ask("SELECT count() FROM cityfleet.quarantine WHERE UUIDv7ToDateTime(id) != received_at"), file=sys.stderr)
print(ask("SELECT name, engine FROM system.tables WHERE name LIKE 'quarantine%'"), file=sys.stderr)
engine.close()
"""


def test_rows_of_before_get_ids_also_after_a_run_that_broke_off(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-3:] == ["1000\t1000\t3000", "0", "quarantine\tReplacingMergeTree"]
