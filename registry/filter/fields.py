"""What may be filtered by: the typed fields and the functions of each resource."""

from collections.abc import Iterable
from enum import Enum

import msgspec


class Type(Enum):
    """TEXT is never absent, only empty. A NUMBER or TIME may be absent, or a key of a MAP, whose values are texts."""

    TEXT = "text"
    ENUM = "one of a few words"
    NUMBER = "a whole number"
    TIME = "a time"
    MAP = "texts by key"


class Field(msgspec.Struct, frozen=True):
    """`values` are the words of an ENUM."""

    name: str
    type: Type
    values: tuple[str, ...] = ()


class Signature(msgspec.Struct, frozen=True):
    """A function that is a term of its own. Each parameter is `text`, or the lowest and the highest number it takes."""

    name: str
    parameters: tuple[tuple[str, tuple[float, float] | None], ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(name for name, _ in self.parameters)})"


class Resource(msgspec.Struct, frozen=True):
    """A kind of thing that lists are filtered of; `searched` are the TEXT fields that a word alone is sought in."""

    fields: dict[str, Field]
    functions: dict[str, Signature]
    searched: tuple[str, ...]

    def __str__(self) -> str:
        """All that there is, for whoever named something else."""
        names = [f"{field.name}.KEY" if field.type is Type.MAP else field.name for field in self.fields.values()]
        return ", ".join(names + [str(function) for function in self.functions.values()])


STATES = ("active", "decommissioned", "deleted")
CONNECTIVITIES = ("never_seen", "online", "offline")
HEALTHS = ("unknown", "good", "degraded", "bad")
SITE_KINDS = ("bts", "pole", "bridge", "building", "river", "road", "other")

# Beyond this a distance is no neighbourhood, and a flat box round the place no help.
MAX_RADIUS_M = 100_000.0

IN_GROUP = Signature("in_group", (("group_id", None),))
IN_QUERY = Signature("in_query", (("saved_query_id", None),))
NEAR = Signature("near", (("latitude", (-90, 90)), ("longitude", (-180, 180)), ("radius_m", (0, MAX_RADIUS_M))))


def _resource(fields: Iterable[Field], functions: Iterable[Signature], searched: tuple[str, ...]) -> Resource:
    return Resource(
        {field.name: field for field in fields}, {function.name: function for function in functions}, searched
    )


def _texts(*names: str) -> list[Field]:
    return [Field(name, Type.TEXT) for name in names]


DEVICES = _resource(
    [
        Field("device_num", Type.NUMBER),
        *_texts("device_id", "display_name", "device_type", "external_id", "gateway", "site_id", "site", "ward_code"),
        Field("hardware_revision", Type.TEXT),
        Field("labels", Type.MAP),
        Field("state", Type.ENUM, STATES),
        Field("create_time", Type.TIME),
        Field("update_time", Type.TIME),
        Field("connectivity", Type.ENUM, CONNECTIVITIES),
        Field("health", Type.ENUM, HEALTHS),
        Field("reported.firmware_version", Type.TEXT),
        Field("reported.config_version", Type.NUMBER),
        Field("reported.last_seen_time", Type.TIME),
        Field("reported.last_reading_time", Type.TIME),
    ],
    [IN_GROUP, IN_QUERY, NEAR],
    ("device_id", "display_name", "external_id"),
)

SITES = _resource(
    [
        *_texts("site_id", "display_name"),
        Field("kind", Type.ENUM, SITE_KINDS),
        Field("ward_code", Type.TEXT),
        Field("labels", Type.MAP),
        Field("create_time", Type.TIME),
        Field("update_time", Type.TIME),
    ],
    [NEAR],
    ("site_id", "display_name"),
)

AUDIT_EVENTS = _resource(
    [*_texts("actor", "peer", "method", "request_id", "resource", "result"), Field("event_time", Type.TIME)],
    [],
    ("actor", "method", "resource", "result"),
)
