"""MAP.toml: which columns of a recorded CSV are the time, the device and the values, and which rows don't count."""

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

MAX_DEVICE_ID = 63
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
CALENDAR = ("year", "month", "day", "hour", "minute", "second")


class MapError(Exception):
    """A person must fix the map or the file; the message names the file and the key, column or line."""


class FileFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    delimiter: str = ","
    encoding: str = "utf-8-sig"

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1:
            raise ValueError(f"delimiter must be one character, not {self.delimiter!r}")


class TimeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `column` with a `format`, or `columns` = year, month, day and, if need be, hour, minute, second.

    format: `iso8601`, `unix_s`, `unix_ms`, or a strptime pattern. `zone` (IANA) is the zone of stamps that carry none.
    ambiguous: which of the two hours of a clock set back is meant. nonexistent: an hour that a clock set forward leaves
    out is moved by the width of the gap (`shift`) or skipped.
    """

    column: str = ""
    columns: tuple[str, ...] = ()
    format: str = "iso8601"
    zone: str = ""
    ambiguous: Literal["earlier", "later", "skip"] = "earlier"
    nonexistent: Literal["shift", "skip"] = "shift"

    def __post_init__(self) -> None:
        if bool(self.column) == bool(self.columns):
            raise ValueError("give either `column` or `columns`")
        if self.columns and not 3 <= len(self.columns) <= len(CALENDAR):
            raise ValueError(f"`columns` names {', '.join(CALENDAR)}, at least the first three, in this order")
        if self.zone:
            try:
                ZoneInfo(self.zone)
            except (ZoneInfoNotFoundError, ValueError) as exc:
                raise ValueError(f"`zone` {self.zone!r} is not an IANA time zone (as Asia/Ho_Chi_Minh or UTC)") from exc
        elif self.columns or self.format not in ("iso8601", "unix_s", "unix_ms"):
            raise ValueError("`zone` is missing: the stamps do not say where their clock stood")

    @property
    def source_columns(self) -> tuple[str, ...]:
        return self.columns or (self.column,)


class DeviceRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`id` is a constant or a template as `flood-{sensor_id}`; column values become lowercase, with `-` between."""

    id: str
    type: str = ""
    ward_code: str = ""
    # Names of the columns that hold degrees north and east, or the degrees themselves.
    lat: str | float = ""
    lon: str | float = ""

    @property
    def source_columns(self) -> tuple[str, ...]:
        return (
            *_PLACEHOLDER.findall(self.id),
            *(name for name in (self.lat, self.lon) if isinstance(name, str) and name),
        )

    def device_id(self, row: Mapping[str, str]) -> str:
        """The device's id, or empty if the row does not name one."""
        parts = [slug(row[name]) for name in _PLACEHOLDER.findall(self.id)]
        if not all(parts):
            return ""
        values = iter(parts)
        return _PLACEHOLDER.sub(lambda _: next(values), self.id)[:MAX_DEVICE_ID].strip("-")


class ValueRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`unit` (UCUM or SenML) where the file's is not the metric's own. `device` where it is not the map's device."""

    column: str
    metric: str
    unit: str = ""
    device: DeviceRule | None = None


class RowFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row counts only if the column's text is in `keep` (when given) and not in `drop`."""

    column: str
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.keep and not self.drop:
            raise ValueError("give `keep` or `drop`")

    def keeps(self, row: Mapping[str, str]) -> bool:
        text = row[self.column].strip()
        return (not self.keep or text in self.keep) and text not in self.drop


class ReplayMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    time: TimeRule
    device: DeviceRule
    values: tuple[ValueRule, ...]
    about: str = ""
    file: FileFormat = FileFormat()
    # What stands for "no value": text compares as text, numbers as numbers (-999 also finds "-999.0").
    missing: tuple[str | int | float, ...] = ("", "NA")
    filters: tuple[RowFilter, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("`values` is empty: no column would become a reading")

    @property
    def source_columns(self) -> list[str]:
        """Every column that the file must have, once each, in the order of their first use."""
        names = [*self.time.source_columns, *self.device.source_columns]
        for value in self.values:
            names += [value.column, *(value.device.source_columns if value.device else ())]
        names += [row_filter.column for row_filter in self.filters]
        return list(dict.fromkeys(names))


def slug(text: str) -> str:
    """Lowercase letters, digits and single `-`: `Tây Hồ/2` becomes `tay-ho-2`."""
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def load_map(path: Path) -> ReplayMap:
    """Read and check a map. Raises MapError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise MapError(f"cannot read the map {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise MapError(f"the map {path} is not valid TOML: {exc}") from exc
    try:
        loaded = msgspec.convert(raw, ReplayMap)
    except msgspec.ValidationError as exc:
        raise MapError(f"the map {path}: {str(exc).replace('`$.', '`').replace(' - at ', ', at ')}") from exc
    for rule in (loaded.device, *(value.device for value in loaded.values if value.device)):
        fixed = _PLACEHOLDER.sub("x", rule.id)
        if not fixed or slug(fixed) != fixed or len(fixed) > MAX_DEVICE_ID:
            raise MapError(
                f"the map {path}: `device.id` {rule.id!r}: a device id is 1 to {MAX_DEVICE_ID} lowercase letters, "
                "digits and `-`"
            )
    return loaded
