"""The condition that a row must meet to be seen by the account of a ward: literals only, no subquery and no setting."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from store.access.declared import Rule, Visibility
from store.migrate import Ask

NOTHING = "0"
_METRICS = "SELECT metric_num FROM cityfleet.metrics FINAL WHERE has({names:Array(String)}, metric) ORDER BY metric_num"
_TYPES = (
    "SELECT hex(device_type) FROM cityfleet.device_types FINAL WHERE hasAny(metric_nums, {numbers:Array(UInt16)}) "
    "ORDER BY device_type"
)


@dataclass(frozen=True, slots=True)
class PublicRows:
    """What is public by its metric, as numbers and names that stand in the tables.

    Attributes:
        metric_nums: of the public metrics.
        device_types: that measure one of them.
    """

    metric_nums: tuple[int, ...] = ()
    device_types: tuple[str, ...] = ()


def literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def public_rows(ask: Ask, visibility: Visibility) -> PublicRows:
    """Look the public metrics up in the store; both tables are small."""
    names = f"[{', '.join(map(literal, visibility.public_metrics))}]"
    found = ask(_METRICS, {"names": names})
    numbers = tuple(int(line) for line in found.split())
    if not numbers:
        return PublicRows()
    types = ask(_TYPES, {"numbers": f"[{', '.join(map(str, numbers))}]"})
    return PublicRows(numbers, tuple(bytes.fromhex(line).decode() for line in types.split()))


def condition(rule: Rule, wards: Iterable[str], public: PublicRows) -> str:
    """The expression; `NOTHING` for what is hidden, "" for what needs none."""
    if rule is Rule.HIDDEN:
        return NOTHING
    if rule in (Rule.PUBLIC, Rule.VIEW):
        return ""
    own = _is_one_of("ward_code", map(literal, sorted(set(wards))))
    if rule is Rule.WARD_AND_METRIC and public.metric_nums:
        return f"({own}) OR ({_is_one_of('metric_num', map(str, public.metric_nums))})"
    if rule is Rule.WARD_AND_TYPE and public.device_types:
        return f"({own}) OR ({_is_one_of('device_type', map(literal, public.device_types))})"
    return own


def _is_one_of(column: str, literals: Iterable[str]) -> str:
    """Of a single value not IN, for which the engine builds a set: that is a twentieth of a short question."""
    found = list(literals)
    return f"{column} = {found[0]}" if len(found) == 1 else f"{column} IN ({', '.join(found)})"


def conditions(visibility: Visibility, wards: Iterable[str], public: PublicRows) -> Mapping[str, str]:
    """By `database.table`, for every declared table whose rows are not all to be seen."""
    wards = tuple(wards)
    found = {name: condition(rule, wards, public) for name, rule in visibility.rules.items()}
    return {name: text for name, text in found.items() if text}
