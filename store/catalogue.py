"""What can be asked by name: the views of `ioc` with columns, parameters, comments and examples, read from their SQL.

The numbered schema comes first, then the repeatable files, as the store applies them; the last definition counts.
"""

import re
from dataclasses import dataclass
from functools import cache

from store import migrate, views

_VIEW = re.compile(r"\s*CREATE OR REPLACE VIEW ioc\.([a-z0-9_]+)\s")
_DROP = re.compile(r"\s*DROP VIEW IF EXISTS ioc\.([a-z0-9_]+)")
_COLUMN = re.compile(r"^    `?([A-Za-z0-9_]+)`? (.+?) COMMENT '((?:[^'\\]|''|\\.)*)',?$", re.MULTILINE)
_COMMENT = re.compile(r"\bCOMMENT '((?:[^'\\]|''|\\.)*)'\s*$")
_PARAMETER = re.compile(r"\{([a-z0-9_]+):([A-Za-z0-9]+(?:\('[^']*'\))?)\}")
_QUESTION = re.compile(r"Question (\d+)\b[^:]*: *|Question (\d+)\b")
_EXAMPLE = re.compile(r"\s*\bExample: *")
_STATEMENT = re.compile(r"\b(?:SELECT|WITH)\b")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class View:
    """`parameters`: name and type, in the order of their use. `number`: of the question, 0 for a view that is none."""

    name: str
    columns: tuple[Column, ...]
    parameters: tuple[tuple[str, str], ...]
    comment: str

    @property
    def number(self) -> int:
        found = _QUESTION.match(self.comment)
        return int(found[1] or found[2]) if found else 0

    @property
    def text(self) -> str:
        """Rule and source: the comment without its example."""
        return _EXAMPLE.split(self.comment, maxsplit=1)[0].strip()

    @property
    def title(self) -> str:
        """The first sentence or line, without the number."""
        line = _QUESTION.sub("", self.text, count=1).split("\n", 1)[0]
        line = re.split(r"(?<=[.?]) (?=[A-Z])", line, maxsplit=1)[0].strip().rstrip(".")
        return line[:1].upper() + line[1:]

    @property
    def example(self) -> tuple[str, str]:
        """What the worked query is about, and the query; empty without one."""
        parts = _EXAMPLE.split(self.comment, maxsplit=1)
        if len(parts) == 1:
            return "", ""
        start = _STATEMENT.search(parts[1])
        return (
            (parts[1][: start.start()].strip(), parts[1][start.start() :].strip()) if start else (parts[1].strip(), "")
        )

    @property
    def call(self) -> str:
        """As it stands in FROM."""
        names = ", ".join(f"{name} = ..." for name, _ in self.parameters)
        return f"ioc.{self.name}({names})" if names else f"ioc.{self.name}"

    def has(self, column: str) -> bool:
        return any(found.name == column for found in self.columns)


@cache
def catalogue() -> tuple[View, ...]:
    """The questions by their number, then the other views by name."""
    found: dict[str, View] = {}
    files = [migration.text for migration in migrate.load()] + [view.text for view in views.load()]
    for text in files:
        for statement in migrate.statements(text, "single"):
            if dropped := _DROP.match(statement):
                found.pop(dropped[1], None)
            elif made := _VIEW.match(statement):
                found[made[1]] = _read(made[1], statement)
    return tuple(sorted(found.values(), key=lambda view: (view.number or 1000, view.name)))


def view_of(name: str) -> View | None:
    """By its name, with or without `ioc.`."""
    bare = name.removeprefix("ioc.")
    return next((view for view in catalogue() if view.name == bare), None)


def _read(name: str, statement: str) -> View:
    head, mark, _ = statement.partition("SQL SECURITY INVOKER")
    columns = _COLUMN.findall(head) if mark else []
    comment = _COMMENT.search(statement)
    body = statement[: comment.start()] if comment else statement
    parameters = dict.fromkeys(_PARAMETER.findall(body))
    return View(
        name,
        tuple(Column(column, kind, _plain(text)) for column, kind, text in columns),
        tuple((parameter, kind) for parameter, kind in parameters),
        # A comment says `{from:DateTime}` of a parameter: its name is enough.
        _PARAMETER.sub(r"\1", _plain(comment[1])) if comment else "",
    )


def _plain(literal: str) -> str:
    return re.sub(r"''|\\(.)", lambda found: found[1] or "'", literal)
