"""order_by by AIP-132: `ward_code, update_time desc`; and group_by, which names fields the same way."""

import re
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from registry.errors import InvalidError, Violation
from registry.filter.fields import DEVICES, Field, Resource, Type

MAX_KEYS = 4
MAX_GROUP_KEYS = 3
GROUPABLE = (
    "ward_code",
    "device_type",
    "gateway",
    "site_id",
    "state",
    "connectivity",
    "health",
    "hardware_revision",
    "reported.firmware_version",
)
_KEY = re.compile(r"\s*([^\s,]{1,200})(?:\s+(asc|desc))?\s*")


class OrderKey(msgspec.Struct, frozen=True):
    """`key` is that of a MAP. What is absent comes first, or last if `descending`."""

    field: Field
    key: str
    descending: bool

    @property
    def kind(self) -> type[int] | type[str]:
        """Of the value in a page token; an ENUM is ordered by the numbers of its words."""
        return str if self.field.type in (Type.TEXT, Type.MAP) else int


def order_of(text: str, resource: Resource) -> tuple[OrderKey, ...]:
    """Empty for an empty text. Raises: InvalidError with reason ORDER_SYNTAX or ORDER_FIELD_UNKNOWN."""
    if not text.strip():
        return ()
    given = text.split(",", MAX_KEYS)
    if len(given) > MAX_KEYS:
        _fail("ORDER_SYNTAX", f"more than {MAX_KEYS} fields")
    keys = [_key(part, resource) for part in given]
    if len({(key.field.name, key.key) for key in keys}) < len(keys):
        _fail("ORDER_SYNTAX", "a field is named twice")
    # No two devices have the same number.
    numbered = [at for at, key in enumerate(keys, 1) if key.field.name == "device_num"]
    return tuple(keys[: numbered[0]] if numbered else keys)


def key_kinds(order: Sequence[OrderKey]) -> list[type]:
    """Of the values of a row's key: those of the order, and the row's number unless the order has it."""
    kinds: list[type] = [key.kind for key in order]
    return kinds if any(key.field.name == "device_num" for key in order) else [*kinds, int]


def group_keys_of(names: Sequence[str]) -> tuple[OrderKey, ...]:
    """What AggregateDevices groups by. Raises: InvalidError with reason GROUP_BY_INVALID."""
    if len(names) > MAX_GROUP_KEYS:
        _fail("GROUP_BY_INVALID", f"at most {MAX_GROUP_KEYS} fields", "group_by")
    if len(set(names)) < len(names):
        _fail("GROUP_BY_INVALID", "a field is named twice", "group_by")
    keys = []
    for name in names:
        first, _, key = name.partition(".")
        if name in GROUPABLE and name != "labels":
            keys.append(OrderKey(DEVICES.fields[name], "", False))
        elif first == "labels" and key and "\0" not in key:
            keys.append(OrderKey(DEVICES.fields[first], key, False))
        else:
            known = ", ".join((*GROUPABLE, "labels.KEY"))
            _fail("GROUP_BY_INVALID", f"`{name[:80]}` is no field to group by; there are {known}", "group_by")
    return tuple(keys)


def _key(part: str, resource: Resource) -> OrderKey:
    found = _KEY.fullmatch(part)
    if found is None or "\0" in part:
        _fail("ORDER_SYNTAX", f"expected a field, with `desc` behind it or not, at `{part.strip()[:40]}`")
    name, direction = found.groups()
    field, key = resource.fields.get(name), ""
    if field is None:
        first, _, key = name.partition(".")
        field = resource.fields.get(first)
    if field is None or (field.type is Type.MAP) != bool(key):
        names = [f"{each.name}.KEY" if each.type is Type.MAP else each.name for each in resource.fields.values()]
        _fail("ORDER_FIELD_UNKNOWN", f"`{name[:80]}` is no field to order by; there are {', '.join(names)}")
    return OrderKey(field, key, direction == "desc")


def _fail(reason: str, text: str, request_field: str = "order_by") -> NoReturn:
    raise InvalidError([Violation(request_field, reason, text)])
