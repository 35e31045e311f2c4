"""The declaration: for every table and view, what the account of a ward sees of it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

_FILE = Path(__file__).parent / "visibility.toml"


class Rule(StrEnum):
    """As described at the head of visibility.toml."""

    WARD = "ward"
    WARD_AND_METRIC = "ward+metric"
    WARD_AND_TYPE = "ward+type"
    PUBLIC = "public"
    VIEW = "view"
    HIDDEN = "hidden"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its condition reads."""
        return _COLUMNS.get(self, ())


_COLUMNS = {
    Rule.WARD: ("ward_code",),
    Rule.WARD_AND_METRIC: ("ward_code", "metric_num"),
    Rule.WARD_AND_TYPE: ("ward_code", "device_type"),
}


class _Public(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metrics: list[str]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    public: _Public
    cityfleet: dict[str, Rule]
    ioc: dict[str, Rule]


@dataclass(frozen=True, slots=True)
class Visibility:
    """What is declared.

    Attributes:
        rules: by `database.table`.
        public_metrics: names of the metrics whose readings everybody may see.
    """

    rules: Mapping[str, Rule]
    public_metrics: tuple[str, ...]

    def of(self, name: str) -> Rule:
        """The rule of `database.table`; hidden if there is none."""
        return self.rules.get(name, Rule.HIDDEN)

    def shown(self) -> list[str]:
        """Every table and view that an account of a ward may name, in order."""
        return sorted(name for name, rule in self.rules.items() if rule is not Rule.HIDDEN)


@functools.cache
def declared(path: Path = _FILE) -> Visibility:
    """Raises msgspec.ValidationError for a rule that is none."""
    file = msgspec.toml.decode(path.read_bytes(), type=_File)
    rules = {f"cityfleet.{name}": rule for name, rule in file.cityfleet.items()}
    rules |= {f"ioc.{name}": rule for name, rule in file.ioc.items()}
    return Visibility(rules, tuple(file.public.metrics))
