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
    own = f"ward_code IN ({', '.join(map(literal, sorted(set(wards))))})"
    if rule is Rule.WARD_AND_METRIC and public.metric_nums:
        return f"({own}) OR (metric_num IN ({', '.join(map(str, public.metric_nums))}))"
    if rule is Rule.WARD_AND_TYPE and public.device_types:
        return f"({own}) OR (device_type IN ({', '.join(map(literal, public.device_types))}))"
    return own


def conditions(visibility: Visibility, wards: Iterable[str], public: PublicRows) -> Mapping[str, str]:
    """By `database.table`, for every declared table whose rows are not all to be seen."""
    wards = tuple(wards)
    found = {name: condition(rule, wards, public) for name, rule in visibility.rules.items()}
    return {name: text for name, text in found.items() if text}
