"""Saved queries: create, update, delete. Each function runs in one write transaction."""

from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import groups as db
from registry.db import sequence
from registry.devices.catalogue import check_etag
from registry.devices.rules import DEVICE_ID, MAX_TEXT, check_text
from registry.devices.selection import resolved
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, PreconditionError, Violation
from registry.filter.check import condition_of
from registry.filter.condition import Call, tests_of
from registry.filter.fields import DEVICES
from registry.groups.model import SavedQuery

UPDATABLE = ("display_name", "filter")


def create_query(connection: Connection, query_id: str, display_name: str, filter_text: str) -> SavedQuery:
    """Raises: InvalidError, AlreadyExistsError."""
    found = check_text("display_name", display_name, MAX_TEXT)
    if not DEVICE_ID.fullmatch(query_id):
        text = f"`{query_id[:80]}` is not a saved query: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("saved_query_id", "SAVED_QUERY_ID_INVALID", text))
    if found:
        raise InvalidError(found)
    _check_filter(connection, query_id, filter_text)
    if db.find_query(connection, query_id):
        text = f"the saved query {query_id} exists; choose another name, or update it"
        raise AlreadyExistsError(text, metadata={"saved_query": query_id})
    db.insert_query(connection, query_id, display_name, filter_text, sequence.now_ms())
    query = get_query(connection, query_id)
    changed(f"savedQueries/{query_id}", None, query)
    return query


def get_query(connection: Connection, query_id: str) -> SavedQuery:
    """Raises: NotFoundError."""
    query = db.find_query(connection, query_id)
    if query is None:
        text = f"there is no saved query {query_id}; `cityfleet savedquery list` shows those there are"
        raise NotFoundError(text, reason="SAVED_QUERY_NOT_FOUND", metadata={"saved_query": query_id})
    return query


def update_query(
    connection: Connection, query_id: str, display_name: str | None, filter_text: str | None, given_etag: str
) -> SavedQuery:
    """None: leave it. Raises: InvalidError, NotFoundError, EtagMismatchError."""
    before = get_query(connection, query_id)
    check_etag(f"savedQueries/{query_id}", given_etag, before.revision)
    name = before.display_name if display_name is None else display_name
    text = before.filter if filter_text is None else filter_text
    if (name, text) == (before.display_name, before.filter):
        return before
    if found := check_text("display_name", name, MAX_TEXT):
        raise InvalidError(found)
    _check_filter(connection, query_id, text)
    db.update_query(connection, query_id, name, text, sequence.now_ms())
    after = get_query(connection, query_id)
    changed(f"savedQueries/{query_id}", before, after)
    return after


def delete_query(connection: Connection, query_id: str, given_etag: str) -> None:
    """Raises: NotFoundError, EtagMismatchError, PreconditionError while another saved query names it."""
    query = get_query(connection, query_id)
    check_etag(f"savedQueries/{query_id}", given_etag, query.revision)
    check_unused(connection, "in_query", query_id)
    db.delete_query(connection, query_id)
    changed(f"savedQueries/{query_id}", query, None)


def check_unused(connection: Connection, function: str, name: str) -> None:
    """Raises: PreconditionError if a saved query has `function("name")` in it."""
    for query in db.all_queries(connection):
        for test in tests_of(condition_of(query.filter, DEVICES, 0)):
            if isinstance(test, Call) and (test.name, test.arguments) == (function, (name,)):
                raise PreconditionError(
                    f"the saved query {query.saved_query_id} has {function}({name}) in it; change or delete it first",
                    reason="NAMED_BY_SAVED_QUERY",
                    metadata={"saved_query": query.saved_query_id, "name": name},
                )


def _check_filter(connection: Connection, query_id: str, filter_text: str) -> None:
    """Also that it does not mean itself by way of others. Raises: InvalidError."""
    if not filter_text.strip():
        raise InvalidError([Violation("filter", "FILTER_EMPTY", "say what is meant; `*` is every device")])
    now_ms = sequence.now_ms()
    resolved(connection, condition_of(filter_text, DEVICES, now_ms), now_ms, (query_id,))
