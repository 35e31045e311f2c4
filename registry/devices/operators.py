"""Operators: create, update, delete, rotate the token. Each function runs in one write transaction."""

import msgspec
from sqlalchemy import Connection

from registry.audit.record import changed
from registry.db import operators as db
from registry.db import sequence
from registry.devices import tokens
from registry.devices.catalogue import check_etag
from registry.devices.model import Operator, OperatorSpec
from registry.devices.rules import DEVICE_ID, MAX_TEXT, check_text
from registry.errors import AlreadyExistsError, InvalidError, NotFoundError, Violation

UPDATABLE = ("display_name", "subscribe_filters", "publish_filters", "disabled")
MAX_FILTERS = 64
MAX_FILTER_BYTES = 1024


class Created(msgspec.Struct, frozen=True):
    """`token` is empty if the caller brought his own."""

    operator: Operator
    token: str


def check_operator(spec: OperatorSpec) -> list[Violation]:
    """What is wrong with an operator by itself."""
    found: list[Violation] = []
    if not DEVICE_ID.fullmatch(spec.operator_id):
        text = f"`{spec.operator_id}` is not an operator: lowercase letters, digits and `-`, 1 to 63 characters"
        found.append(Violation("operator_id", "OPERATOR_ID_INVALID", text))
    found += check_text("display_name", spec.display_name, MAX_TEXT)
    for field, filters in (("subscribe_filters", spec.subscribe_filters), ("publish_filters", spec.publish_filters)):
        if len(filters) > MAX_FILTERS:
            found.append(Violation(field, "TOO_MANY_FILTERS", f"at most {MAX_FILTERS} filters, not {len(filters)}"))
        for at, topic_filter in enumerate(filters):
            if problem := _filter_problem(topic_filter):
                found.append(Violation(f"{field}[{at}]", "FILTER_INVALID", f"`{topic_filter}`: {problem}"))
    return found


def create_operator(connection: Connection, spec: OperatorSpec, token: str) -> Created:
    """Args: token: the operator's own; empty: make one.

    Raises: InvalidError, AlreadyExistsError.
    """
    found = check_operator(spec) + (tokens.check_token(token) if token else [])
    if found:
        raise InvalidError(found)
    if db.find_operator(connection, spec.operator_id):
        text = f"the operator {spec.operator_id} exists; choose another name, or update or delete it"
        raise AlreadyExistsError(text, metadata={"operator": spec.operator_id})
    made = "" if token else tokens.new_token()
    db.insert_operator(connection, spec, tokens.digest(token or made), sequence.now_ms())
    changed(f"operators/{spec.operator_id}", None, spec)
    return Created(get_operator(connection, spec.operator_id), made)


def get_operator(connection: Connection, operator_id: str) -> Operator:
    """Raises: NotFoundError."""
    operator = db.find_operator(connection, operator_id)
    if operator is None:
        text = f"there is no operator {operator_id}; `cityfleet operator list` shows those there are"
        raise NotFoundError(text, reason="OPERATOR_NOT_FOUND", metadata={"operator": operator_id})
    return operator


def update_operator(connection: Connection, given: OperatorSpec, fields: frozenset[str], given_etag: str) -> Operator:
    """Take the named fields, of UPDATABLE, from `given`. Raises: InvalidError, NotFoundError, EtagMismatchError."""
    operator = get_operator(connection, given.operator_id)
    check_etag(f"operators/{given.operator_id}", given_etag, operator.revision)
    spec = msgspec.structs.replace(operator.spec, **{name: getattr(given, name) for name in fields})
    if spec == operator.spec:
        return operator
    if found := check_operator(spec):
        raise InvalidError(found)
    db.update_operator(connection, spec, sequence.now_ms())
    changed(f"operators/{spec.operator_id}", operator.spec, spec)
    return get_operator(connection, given.operator_id)


def delete_operator(connection: Connection, operator_id: str) -> None:
    """Raises: NotFoundError."""
    operator = get_operator(connection, operator_id)
    db.delete_operator(connection, operator_id, sequence.now_ms())
    changed(f"operators/{operator_id}", operator.spec, None)


def rotate_token(connection: Connection, operator_id: str, token: str) -> Created:
    """Raises: InvalidError, NotFoundError."""
    if token and (found := tokens.check_token(token)):
        raise InvalidError(found)
    get_operator(connection, operator_id)
    made = "" if token else tokens.new_token()
    db.replace_token(connection, operator_id, tokens.digest(token or made), sequence.now_ms())
    changed(f"operators/{operator_id}", {}, {"token": "rotated"})
    return Created(get_operator(connection, operator_id), made)


def _filter_problem(topic_filter: str) -> str:
    """Why a text is not an MQTT topic filter (MQTT 5.0 section 4.7); empty: it is one."""
    if not topic_filter:
        return "empty"
    try:
        size = len(topic_filter.encode())
    except UnicodeEncodeError:
        return "not UTF-8"
    if size > MAX_FILTER_BYTES:
        return f"longer than {MAX_FILTER_BYTES} bytes"
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in topic_filter):
        return "a control character"
    if topic_filter.startswith("$share/"):
        return "name the filter without $share/GROUP/; what may be subscribed may be shared"
    levels = topic_filter.split("/")
    if "#" in levels[:-1] or any("#" in level and level != "#" for level in levels):
        return "# stands alone in the last level"
    if any("+" in level and level != "+" for level in levels):
        return "+ stands alone in its level"
    return ""
