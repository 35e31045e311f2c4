"""A syntax tree held against the fields of a resource: what comes out is typed and has no error left."""

from typing import NoReturn

from registry.errors import InvalidError, Violation
from registry.filter.condition import ALWAYS, All, Any, Call, Condition, Relation, Test, negate
from registry.filter.fields import Field, Resource, Type
from registry.filter.parser import parse
from registry.filter.syntax import And, Function, Literal, Member, Not, Or, Restriction, Sought, Syntax
from registry.filter.values import decimal_of, number_of, span_ms_of, time_ms_of

MAX_WILDCARDS = 8
_ORDER = {
    "=": Relation.EQUAL,
    "!=": Relation.EQUAL,
    ":": Relation.EQUAL,
    "<": Relation.LESS,
    "<=": Relation.LESS_EQUAL,
    ">": Relation.GREATER,
    ">=": Relation.GREATER_EQUAL,
}
_EXAMPLE = 'ward_code = "00070" AND labels.owner = "tnmt"'


def condition_of(text: str, resource: Resource, now_ms: int) -> Condition:
    """The meaning of a filter; an empty one is true of everything.

    Args: now_ms: what `ago()` counts from, UTC milliseconds.
    Raises: InvalidError with reason FILTER_TOO_LONG, FILTER_SYNTAX, FILTER_FIELD_UNKNOWN or FILTER_VALUE_INVALID.
    """
    tree = parse(text)
    return ALWAYS if tree is None else _Checker(resource, now_ms).check(tree)


class _Checker:
    def __init__(self, resource: Resource, now_ms: int) -> None:
        self._resource = resource
        self._now_ms = now_ms

    def check(self, tree: Syntax) -> Condition:
        match tree:
            case And(parts):
                return All(tuple(self.check(part) for part in parts))
            case Or(parts):
                return Any(tuple(self.check(part) for part in parts))
            case Not(part):
                return negate(self.check(part))
            case Sought(value):
                return self._search(value)
            case Function():
                return self._call(tree)
            case Restriction(member, comparator, value):
                test = self._test(member, comparator, value)
                return negate(test) if comparator == "!=" else test

    def _search(self, value: Literal) -> Condition:
        if value.parts == ("", ""):
            return ALWAYS
        if value.text in self._resource.fields or not self._resource.searched or not value.text:
            _fail("FILTER_SYNTAX", f"expected field = value at `{value.text}`, as in {_EXAMPLE}")
        _check_wildcards(value)
        fields = (self._resource.fields[name] for name in self._resource.searched)
        return Any(tuple(Test(field, "", Relation.CONTAINS, ("", *value.parts, "")) for field in fields))

    def _call(self, call: Function) -> Condition:
        signature = self._resource.functions.get(call.name)
        if signature is None:
            _fail("FILTER_FIELD_UNKNOWN", f"there is no function `{call.name}` here; there are {self._resource}")
        if len(call.arguments) != len(signature.parameters):
            _fail("FILTER_VALUE_INVALID", f"{signature} takes {len(signature.parameters)}, not {len(call.arguments)}")
        taken: list[str | float] = []
        for (name, bounds), given in zip(signature.parameters, call.arguments, strict=True):
            if isinstance(given, Function) or len(given.parts) > 1 or not given.text:
                _fail("FILTER_VALUE_INVALID", f"{name} of {signature} is a value without wildcards")
            if bounds is None:
                taken.append(given.text)
                continue
            number = decimal_of(given.text)
            if number is None or not bounds[0] <= number <= bounds[1]:
                text = f"{name} of {signature} is a number from {bounds[0]:g} to {bounds[1]:g}, not `{given.text}`"
                _fail("FILTER_VALUE_INVALID", text)
            taken.append(number)
        return Call(call.name, tuple(taken))

    def _test(self, member: Member, comparator: str, value: Literal | Function) -> Test:
        field, key = self._field(member)
        if field.type is Type.MAP and not key:
            return self._has_key(field, comparator, value)
        if isinstance(value, Literal) and value.parts == ("", "") and comparator in ("=", "!=", ":"):
            return Test(field, key, Relation.PRESENT, "")
        relation = _ORDER[comparator]
        match field.type:
            case Type.NUMBER | Type.TIME:
                return Test(field, key, relation, self._point(field, value))
            case Type.ENUM:
                if relation is not Relation.EQUAL:
                    _fail("FILTER_VALUE_INVALID", f"{field.name} has no order; use = or !=")
                return Test(field, key, relation, _word(field, _literal(field, value)))
        given = _literal(field, value)
        _check_wildcards(given)
        # `labels.owner:x` is the label's whole value (AIP-160, "Has operator"); `display_name:x` is a part of the text.
        if comparator == ":" and field.type is Type.TEXT:
            if not given.text:
                _fail("FILTER_VALUE_INVALID", f'{field.name}:"" is in every text; use {field.name} = ""')
            return Test(field, key, Relation.CONTAINS, ("", *given.parts, ""))
        if len(given.parts) == 1:
            return Test(field, key, relation, given.text)
        if relation is not Relation.EQUAL:
            _fail("FILTER_VALUE_INVALID", f"`{given.text}` has a wildcard, which goes with =, != and :")
        return Test(field, key, Relation.MATCHES, given.parts)

    def _field(self, member: Member) -> tuple[Field, str]:
        if field := self._resource.fields.get(member.text):
            return field, ""
        first = self._resource.fields.get(member.names[0])
        if first is not None and first.type is Type.MAP:
            return first, ".".join(member.names[1:])
        text = f"`{member.text}` cannot be filtered by; there are {self._resource}"
        _fail("FILTER_FIELD_UNKNOWN", text)

    def _has_key(self, field: Field, comparator: str, value: Literal | Function) -> Test:
        given = _literal(field, value)
        if comparator != ":" or len(given.parts) > 1 or not given.text:
            text = (
                f"{field.name} holds texts by key: {field.name}.KEY = value, or {field.name}:KEY for those that have it"
            )
            _fail("FILTER_VALUE_INVALID", text)
        return Test(field, given.text, Relation.PRESENT, "")

    def _point(self, field: Field, value: Literal | Function) -> int:
        if field.type is Type.NUMBER:
            text = _literal(field, value).text
            number = number_of(text)
            if number is None:
                _fail("FILTER_VALUE_INVALID", f"{field.name} is a whole number of 64 bits, not `{text}`")
            return number
        if isinstance(value, Function):
            return self._ago(field, value)
        time_ms = time_ms_of(value.text)
        if time_ms is None:
            text = f'{field.name} is a time, as "2026-03-01T07:30:00+07:00" or ago("1h"), not `{value.text}`'
            _fail("FILTER_VALUE_INVALID", text)
        return time_ms

    def _ago(self, field: Field, call: Function) -> int:
        given = call.arguments[0] if call.name == "ago" and len(call.arguments) == 1 else None
        span_ms = span_ms_of(given.text) if isinstance(given, Literal) else None
        if span_ms is None:
            _fail("FILTER_VALUE_INVALID", f'{field.name} is a time, or ago("90s"), with s, m, h, d or w')
        return self._now_ms - span_ms


def _literal(field: Field, value: Literal | Function) -> Literal:
    if isinstance(value, Function):
        _fail("FILTER_VALUE_INVALID", f"{field.name} is {field.type.value}, and {value.name}() gives none")
    return value


def _word(field: Field, given: Literal) -> str:
    word = given.text.lower().removeprefix(f"{field.name}_")
    if word not in field.values:
        _fail("FILTER_VALUE_INVALID", f"{field.name} is one of {', '.join(field.values)}, not `{given.text}`")
    return word


def _check_wildcards(given: Literal) -> None:
    if len(given.parts) - 1 > MAX_WILDCARDS:
        _fail("FILTER_VALUE_INVALID", f"more than {MAX_WILDCARDS} wildcards in `{given.text}`")


def _fail(reason: str, text: str) -> NoReturn:
    raise InvalidError([Violation("filter", reason, text)])
