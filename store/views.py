"""The IOC's views as repeatable files: ioc/*.sql in the order of their names, applied after the migrations.

A view changes often and holds no data, so its file is edited in place. When the text of one file differs from what was
applied, that file and all after it are applied again: a later view may be made from an earlier one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from store.migrate import Ask, MigrationError, checksum, statements

log = structlog.get_logger()
_FOLDER = Path(__file__).parent / "ioc"
_NAME = re.compile(r"[a-z0-9_]+\.sql")
_ALLOWED = re.compile(r"CREATE OR REPLACE VIEW ioc\.[a-z0-9_]+\s|DROP VIEW IF EXISTS ioc\.[a-z0-9_]+\s*\{?")
_TABLE = """
CREATE DATABASE IF NOT EXISTS ioc {on_cluster};
CREATE TABLE IF NOT EXISTS cityfleet.view_files {on_cluster}
(
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = {replacing}(applied_at)
ORDER BY name;
"""


@dataclass(frozen=True, slots=True)
class ViewFile:
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return checksum(self.text)


def load(folder: Path = _FOLDER) -> list[ViewFile]:
    """All files in the order of their names. Raises MigrationError if one does more than views of `ioc`."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        if _NAME.fullmatch(path.name) is None:
            raise MigrationError(f"{path.name}: names are of small letters, digits and _")
        view = ViewFile(path.name, path.read_text(encoding="utf-8"))
        for statement in statements(view.text, "single"):
            if _ALLOWED.match(statement) is None:
                raise MigrationError(
                    f"{path.name}: only CREATE OR REPLACE VIEW ioc.NAME and DROP VIEW IF EXISTS ioc.NAME"
                )
        found.append(view)
    return found


def status(ask: Ask, folder: Path = _FOLDER) -> tuple[list[ViewFile], list[ViewFile]]:
    """The files that are applied as they are, and those to be applied."""
    files = load(folder)
    recorded: dict[str, str] = {}
    if ask("SELECT count() FROM system.tables WHERE database = 'cityfleet' AND name = 'view_files'") == "1":
        rows = ask("SELECT name, checksum FROM cityfleet.view_files FINAL ORDER BY name")
        for row in rows.splitlines():
            name, found = row.split("\t")
            recorded[name] = found
    first = next((at for at, view in enumerate(files) if recorded.get(view.name) != view.checksum), len(files))
    return files[:first], files[first:]


def apply(
    ask: Ask, profile: str, folder: Path = _FOLDER, on_applied: Callable[[ViewFile], None] | None = None
) -> list[ViewFile]:
    """Apply what differs and return it; the migrations come before. May be repeated at any time."""
    for statement in statements(_TABLE, profile):
        ask(statement)
    pending = status(ask, folder)[1]
    for view in pending:
        for statement in statements(view.text, profile):
            ask(statement)
    # Noted when all are made: a run that breaks off begins anew.
    for view in pending:
        ask(
            "INSERT INTO cityfleet.view_files (name, checksum) SELECT {name:String}, {checksum:String}",
            {"name": view.name, "checksum": view.checksum},
        )
        log.info("views_applied", file=view.name)
        if on_applied is not None:
            on_applied(view)
    return pending
