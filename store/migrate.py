"""Numbered migrations: applied in order, each once, recorded with its checksum."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

log = structlog.get_logger()
_FOLDER = Path(__file__).parent / "schema"
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

# One device and one metric by the names that a view's caller gives: 0 where there is none.
_ASKED_NUMBERS = {
    "number_of_device": "(SELECT max(device_num) FROM cityfleet.devices WHERE device_id = {device_id:String})",
    "number_of_metric": "(SELECT max(metric_num) FROM cityfleet.metrics WHERE metric = {metric:String})",
}
# store/numbers.py
_KEPT_NUMBERS = {
    "number_of_device": "joinGet('cityfleet.device_numbers', 'device_num', {device_id:String})",
    "number_of_metric": "joinGet('cityfleet.metric_numbers', 'metric_num', {metric:String})",
}

_PROFILES: dict[str, dict[str, str]] = {
    "single": {
        **_ASKED_NUMBERS,
        "on_cluster": "",
        "merge_tree": "MergeTree",
        "replacing": "ReplacingMergeTree",
        "aggregating": "AggregatingMergeTree",
        # A committed insert survives power loss, and a repeated one adds nothing.
        "durable": "non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1",
    },
    "cluster": {
        **_ASKED_NUMBERS,
        "on_cluster": "ON CLUSTER '{cluster}'",
        "merge_tree": "ReplicatedMergeTree",
        "replacing": "ReplicatedReplacingMergeTree",
        "aggregating": "ReplicatedAggregatingMergeTree",
        "durable": "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800, "
        "fsync_after_insert = 1, fsync_part_directory = 1",
    },
}
_PROFILES["embedded"] = _PROFILES["single"] | _KEPT_NUMBERS

_TABLE = """
CREATE DATABASE IF NOT EXISTS cityfleet {on_cluster};
CREATE TABLE IF NOT EXISTS cityfleet.migrations {on_cluster}
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {replacing}(applied_at)
ORDER BY number;
"""


class MigrationError(Exception):
    """The schema in the store does not fit the files; a person must look."""


class Ask(Protocol):
    """Runs one statement and returns its rows as tab-separated text."""

    def __call__(self, sql: str, params: Mapping[str, str] | None = None) -> str: ...


def statements(text: str, profile: str) -> list[str]:
    """A file's statements (each ends with a semicolon at a line's end) with the profile's engines."""
    for key, value in _PROFILES[profile].items():
        text = text.replace("{" + key + "}", value)
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in re.split(r";\s*\n", bare + "\n") if part.strip()]


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return checksum(self.text)

    def statements(self, profile: str) -> list[str]:
        return statements(self.text, profile)


@dataclass(frozen=True, slots=True)
class Status:
    applied: list[Migration]
    pending: list[Migration]


def load(folder: Path = _FOLDER) -> list[Migration]:
    """All files in order. Raises MigrationError for a gap, a double or a bad name."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is not named like 0001_what_it_does.sql")
        found.append(Migration(int(match.group(1)), match.group(2), path.read_text(encoding="utf-8")))
    for at, migration in enumerate(found, start=1):
        if migration.number != at:
            raise MigrationError(f"migration {at:04} is missing or there twice")
    return found


def status(ask: Ask, folder: Path = _FOLDER) -> Status:
    """Compare files and store. Raises MigrationError if an applied file has changed or is gone."""
    files = load(folder)
    recorded: dict[int, tuple[str, str]] = {}
    if ask("SELECT count() FROM system.tables WHERE database = 'cityfleet' AND name = 'migrations'") == "1":
        rows = ask("SELECT number, name, checksum FROM cityfleet.migrations FINAL ORDER BY number")
        for row in rows.splitlines():
            number, name, checksum = row.split("\t")
            recorded[int(number)] = (name, checksum)
    for done, (name, checksum) in recorded.items():
        if done > len(files):
            raise MigrationError(
                f"the store has migration {done:04}_{name}, which this version does not know: it is older than the data"
            )
        if files[done - 1].checksum != checksum:
            raise MigrationError(
                f"migration {done:04}_{name} was changed after it was applied; add a new migration instead"
            )
    return Status(
        [migration for migration in files if migration.number in recorded],
        [migration for migration in files if migration.number not in recorded],
    )


def apply(
    ask: Ask, profile: str, folder: Path = _FOLDER, on_applied: Callable[[Migration], None] | None = None
) -> list[Migration]:
    """Apply what is pending and return it. Every statement may be repeated, so a broken-off run is simply run again."""
    for statement in statements(_TABLE, profile):
        ask(statement)
    pending = status(ask, folder).pending
    for migration in pending:
        for statement in migration.statements(profile):
            ask(statement)
        ask(
            "INSERT INTO cityfleet.migrations (number, name, checksum) SELECT {number:UInt32}, {name:String}, "
            "{checksum:String}",
            {"number": str(migration.number), "name": migration.name, "checksum": migration.checksum},
        )
        log.info("migration_applied", number=migration.number, name=migration.name)
        if on_applied is not None:
            on_applied(migration)
    return pending
