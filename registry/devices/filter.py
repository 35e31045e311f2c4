"""The filter of ListDevices: exact matches joined by AND, a small part of AIP-160."""

import re
from typing import NoReturn

from registry.errors import InvalidError, Violation

FIELDS = ("device_type", "external_id", "gateway", "state", "ward_code", "labels.KEY")
STATES = ("active", "decommissioned")
_TERM = re.compile(
    r"""\s*(?P<field>[A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"=()]+))"""
)
_AND = re.compile(r"\s+AND(?=\s)")


def parse_filter(text: str) -> dict[str, str]:
    """Values by field; empty for an empty filter. Raises: InvalidError."""
    terms: dict[str, str] = {}
    if not text.strip():
        return terms
    at = 0
    while True:
        term = _TERM.match(text, at)
        if term is None:
            _fail("FILTER_SYNTAX", f"expected field = value at `{text[at:].strip()[:40]}`, as in {_EXAMPLE}")
        field = term["field"]
        quoted = term["quoted"]
        value = term["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        _check(field, value)
        if terms.setdefault(field, value) != value:
            _fail("FILTER_CONTRADICTION", f"{field} cannot be both `{terms[field]}` and `{value}`")
        at = term.end()
        if not text[at:].strip():
            return terms
        joint = _AND.match(text, at)
        if joint is None:
            _fail("FILTER_SYNTAX", f"expected AND at `{text[at:].strip()[:40]}`; terms are joined by AND only")
        at = joint.end()


_EXAMPLE = 'ward_code = "00070" AND labels.owner = "tnmt"'


def _check(field: str, value: str) -> None:
    if field.startswith("labels.") and len(field) > len("labels."):
        return
    if field not in FIELDS or field == "labels.KEY":
        _fail("FILTER_FIELD_UNKNOWN", f"`{field}` cannot be filtered by; fields are {', '.join(FIELDS)}")
    if field == "state" and value not in STATES:
        _fail("FILTER_VALUE_INVALID", f"state is one of {', '.join(STATES)}, not `{value}`")


def _fail(reason: str, text: str) -> NoReturn:
    raise InvalidError([Violation("filter", reason, text)])
