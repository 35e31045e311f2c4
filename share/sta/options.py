"""The query options of OData that are taken here; what is not is refused by name."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from share.problem import Problem
from share.terms import joined

_KNOWN = {"$top", "$skip", "$count", "$filter", "$orderby", "$expand", "$select", "$skiptoken"}
_MAX_SKIP = 10_000
_TERM = re.compile(
    r"\s*(?P<field>[@A-Za-z_][\w./]*)\s+(?P<op>eq|ne|gt|ge|lt|le)\s+"
    r"(?P<value>'(?:[^']|'')*'|[^\s']+)\s*(?:(?P<more>\band\b)|$)"
)
_OPS = {"eq": "=", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_ONE, _NEWEST = r"\s*\$top=1\s*", r"\s*\$orderby=phenomenonTime desc\s*"
LATEST = re.compile(rf"Observations\((?:{_ONE};{_NEWEST}|{_NEWEST};{_ONE})\)")


@dataclass(frozen=True)
class Term:
    """One comparison: `op` is SQL's, `value` text without its quotes."""

    field: str
    op: str
    value: str


@dataclass(frozen=True)
class Options:
    top: int
    skip: int
    count: bool
    terms: tuple[Term, ...]
    order: str
    is_descending: bool
    expand: tuple[str, ...]
    select: frozenset[str]
    token: str


def parse(query: Mapping[str, str], names: Collection[str], page: int, max_page: int) -> Options:
    """Args: names: of all options as they came, doubles too. Raises Problem 400 that names the option."""
    for name in names:
        if name not in _KNOWN:
            raise Problem(400, f"{name[:40]!r} is not known; there are {', '.join(sorted(_KNOWN))}", name[:40])
    if len(names) != len(set(names)):
        raise Problem(400, "an option is given twice")
    order, is_descending = _order(query.get("$orderby", ""))
    counts = query.get("$count", "false")
    if counts not in ("true", "false"):
        raise Problem(400, "true or false", "$count")
    return Options(
        min(_number(query, "$top", page), max_page),
        _number(query, "$skip", 0, _MAX_SKIP),
        counts == "true",
        _terms(query.get("$filter", "")),
        order,
        is_descending,
        tuple(part.strip() for part in query.get("$expand", "").split(",") if part.strip()),
        frozenset(part.strip() for part in query.get("$select", "").split(",") if part.strip()),
        query.get("$skiptoken", ""),
    )


def _number(query: Mapping[str, str], name: str, default: int, most: int = 1_000_000) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > most:
        more = "; go on by @iot.nextLink" if name == "$skip" else ""
        raise Problem(400, f"a whole number of 0 to {most}{more}", name)
    return int(text)


def _order(text: str) -> tuple[str, bool]:
    found = re.fullmatch(r"\s*([@\w./]+)(?:\s+(asc|desc))?\s*", text, re.IGNORECASE)
    if not found and text:
        raise Problem(400, "one property, and asc or desc", "$orderby")
    return (found[1], (found[2] or "").lower() == "desc") if found else ("", False)


def _terms(text: str) -> tuple[Term, ...]:
    terms: list[Term] = []
    for found in joined(text, _TERM, "$filter", "comparisons (eq, ne, gt, ge, lt, le) joined by `and`"):
        value = found["value"]
        value = value[1:-1].replace("''", "'") if value.startswith("'") else value
        terms.append(Term(found["field"], _OPS[found["op"]], value))
    return tuple(terms)
