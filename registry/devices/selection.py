"""Which devices a filter means: what it names is looked up, what is deleted is left out, and so is what the caller may
not see. For lists, counts, exports, watches and changes by filter alike."""

from typing import NoReturn

from sqlalchemy import Connection

from registry.access.caller import Scope, scope
from registry.db import groups as db
from registry.errors import InvalidError, Violation
from registry.filter.check import condition_of
from registry.filter.condition import All, Any, Call, Condition, Relation, Test, negate, tests_of
from registry.filter.fields import DEVICES, Resource

MAX_QUERIES_DEEP = 5
# Of a filter and all saved queries in it.
MAX_TERMS = 500
_DELETED = Test(DEVICES.fields["state"], "", Relation.EQUAL, "deleted")


def selected(connection: Connection, filter_text: str, now_ms: int, *, show_deleted: bool = False) -> Condition:
    """The condition of a filter, with no reference left to a saved query, within the scope of the call.

    Args: now_ms: what `ago()` counts from, UTC milliseconds.
    Raises: InvalidError.
    """
    condition = resolved(connection, condition_of(filter_text, DEVICES, now_ms), now_ms)
    parts = [condition, *within(scope(), DEVICES)]
    if not show_deleted and not _names_state(condition):
        parts.append(negate(_DELETED))
    return All(tuple(parts))


def resolved(connection: Connection, condition: Condition, now_ms: int, within: tuple[str, ...] = ()) -> Condition:
    """The condition with saved queries in the place of their names, and all groups there.

    Args: within: the ids of the saved queries that it is part of, the outermost first.
    Raises: InvalidError.
    """
    return _Resolver(connection, now_ms).whole(condition, within)


class _Resolver:
    def __init__(self, connection: Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._known: dict[str, Condition] = {}

    def whole(self, condition: Condition, within: tuple[str, ...]) -> Condition:
        whole = self._part(condition, within)
        if len(tests_of(whole)) > MAX_TERMS:
            _fail(f"with its saved queries it has more than {MAX_TERMS} terms")
        return whole

    def _part(self, condition: Condition, within: tuple[str, ...]) -> Condition:
        match condition:
            case Call("in_query" | "in_group") if not scope().is_everything:
                _fail("groups and saved queries are not for a role that has bounds, whether or not they are there")
            case All(parts):
                return All(tuple(self._part(part, within) for part in parts))
            case Any(parts):
                return Any(tuple(self._part(part, within) for part in parts))
            case Call("in_query", (query_id,), negated):
                meant = self._query(str(query_id), within)
                return negate(meant) if negated else meant
            case Call("in_group", (group_id,)) if db.find_group(self._connection, str(group_id)) is None:
                _fail(f"there is no group `{group_id}`; `cityfleet group list` shows those there are")
        return condition

    def _query(self, query_id: str, within: tuple[str, ...]) -> Condition:
        path = (*within, query_id)
        if query_id in within:
            _fail(f"the saved query `{query_id}` means itself: {' > '.join(path)}")
        if len(within) >= MAX_QUERIES_DEEP:
            _fail(f"saved queries lie more than {MAX_QUERIES_DEEP} deep: {' > '.join(path)}")
        if query_id not in self._known:
            query = db.find_query(self._connection, query_id)
            if query is None:
                _fail(f"there is no saved query `{query_id}`; `cityfleet savedquery list` shows those there are")
            self._known[query_id] = self.whole(condition_of(query.filter, DEVICES, self._now_ms), path)
        return self._known[query_id]


def within(given: Scope, resource: Resource) -> list[Condition]:
    """What a caller may see of devices or sites."""
    if given.bounds is None:
        return []
    ward, labels = resource.fields["ward_code"], resource.fields["labels"]
    areas = []
    for bounds in given.bounds:
        needed: list[Condition] = [Test(labels, key, Relation.EQUAL, value) for key, value in bounds.labels]
        if bounds.ward_codes:
            needed.append(Any(tuple(Test(ward, "", Relation.EQUAL, code) for code in sorted(bounds.ward_codes))))
        areas.append(All(tuple(needed)))
    return [Any(tuple(areas))]


def _names_state(condition: Condition) -> bool:
    return any(isinstance(test, Test) and test.field.name == "state" for test in tests_of(condition))


def _fail(text: str) -> NoReturn:
    raise InvalidError([Violation("filter", "FILTER_VALUE_INVALID", text)])
