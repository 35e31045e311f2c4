"""The dictionary of `ioc` as a page: `python -m store.dictionary > docs/ioc.md` (`make docs`)."""

from store.catalogue import View, catalogue

_HEAD = """# Dictionary of `ioc`

What a module of an operations centre can ask, by name. Written by `make docs` from the views' own comments: change
these (store/ioc), not this page. The same is in the store (`system.columns`, `SHOW CREATE VIEW`), and at hand by
`cityfleet query --list` and `cityfleet query NAME --describe`.

- Times are UTC. A parameter of type `DateTime('UTC')` is text in UTC: `'2026-09-30 17:00:00'` is midnight of 1 October
  in Hanoi. Never give it `toDateTime(..., 'Asia/Ho_Chi_Minh')`: its local text would be taken for UTC, without an
  error. `cityfleet query --from` and the Python package `cityfleet-ioc` (folder ioc) convert.
- Every answer to a question says what it rests on: `as_of` (newest event time used), `n` (good readings used),
  `coverage` (received / expected), `quality` (good, suspect, fail) and `method`. A module that must not
  take an old or empty answer for the present asks for an error: `cityfleet query NAME --max-age 10m`, or `max_age_s` of
  the Python package.
- An account of a ward asks the same views and sees its ward's rows and what is public (docs/two-tiers.md).
"""


def page() -> str:
    """The whole page, Markdown."""
    views = catalogue()
    parts = [_HEAD, "| Question | View | |", "|---|---|---|"]
    parts += [f"| {view.number or ''} | [`{_call(view)}`](#{view.name}) | {_cell(view.title)} |" for view in views]
    for view in views:
        parts += ["", *_section(view)]
    return "\n".join(parts) + "\n"


def _section(view: View) -> list[str]:
    lines = [f"## {view.name}", ""]
    # Each line of a comment is a thought of its own: two spaces keep the break.
    lines += ["  \n".join(line.rstrip() for line in view.text.splitlines())]
    if view.parameters:
        lines += ["", "Parameters: " + ", ".join(f"`{name}` {kind}" for name, kind in view.parameters) + "."]
    lines += ["", "| Column | Type | |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {_cell(column.type)} | {_cell(column.comment)} |" for column in view.columns]
    about, sql = view.example
    if sql:
        lines += ["", f"Example: {about}" if about else "Example:", "", "```sql", sql, "```"]
    return lines


def _call(view: View) -> str:
    names = ", ".join(name for name, _ in view.parameters)
    return f"{view.name}({names})" if names else view.name


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    print(page(), end="")
