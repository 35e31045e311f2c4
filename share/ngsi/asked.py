"""What a request asks for: its query parameters, read and bounded. What is not offered is refused by name."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from share.ngsi.models import FACTS_OF, MODELS_BY_NAME, URN, Model, attributes, model_of
from share.problem import Problem
from share.terms import joined

_KNOWN = {"id", "type", "attrs", "q", "georel", "geometry", "coordinates", "geoproperty", "limit", "offset", "count"}
_KNOWN |= {"options", "format", "after"}
_MAX_VALUES, _MAX_IDS, _MAX_OFFSET, _MAX_CORNERS = 20, 100, 1_000_000, 200
_ID = re.compile(rf"{URN}([A-Za-z]+):([a-z0-9-]{{1,63}})")
_VALUE = r'(?:"[^"]*"|[^;|()"~,=<>!\s]+)'
_TERM = re.compile(rf"\s*([A-Za-z]\w*)\s*(?:(==|!=|>=|<=|>|<)\s*({_VALUE}(?:,{_VALUE})*))?\s*(?:(?P<more>;)|$)")
_NEAR = re.compile(r"near;(max|min)Distance==([0-9]{1,7}(?:\.[0-9]{1,3})?)")

Op = Literal["", "==", "!=", ">", ">=", "<", "<="]


@dataclass(frozen=True)
class Term:
    """One comparison of `q`; without `op` the attribute has to be there."""

    attribute: str
    op: Op
    values: tuple[str, ...]


@dataclass(frozen=True)
class Area:
    """`points` as (longitude, latitude): one for a distance in metres, else a ring."""

    points: tuple[tuple[float, float], ...]
    metres: float = 0
    is_beyond: bool = False


@dataclass(frozen=True)
class Asked:
    """`ids`: device_ids by the name of the type, None: any."""

    models: tuple[Model, ...]
    ids: Mapping[str, tuple[str, ...]] | None
    attrs: tuple[str, ...]
    terms: tuple[Term, ...]
    area: Area | None
    limit: int
    offset: int
    has_count: bool
    is_simple: bool
    has_sys: bool
    after: tuple[str, int] | None
    options: frozenset[str] = frozenset()


def split_id(text: str) -> tuple[Model, str] | None:
    """Model and device_id of an entity's id; None: nothing of ours."""
    found = _ID.fullmatch(text)
    model = MODELS_BY_NAME.get(found[1]) if found else None
    return (model, found[2]) if found and model else None


def parse(
    query: Mapping[str, str],
    names: Collection[str],
    page: int,
    max_page: int,
    more: Collection[str] = (),
    more_options: Collection[str] = (),
) -> Asked:
    """Args: names: of all parameters as they came, doubles too; more: what this request takes beside the usual.

    Raises: Problem: 400 that names the parameter; 403 where a limit of ours is passed.
    """
    known = _KNOWN | set(more)
    for name in names:
        if name not in known:
            raise Problem(400, f"{name[:40]!r} is not offered; there are {', '.join(sorted(known))}", name[:40])
    if len(names) != len(set(names)):
        raise Problem(400, "a parameter is given twice")
    options = frozenset(part.strip() for key in ("options", "format") for part in query.get(key, "").split(",") if part)
    allowed = {"keyValues", "simplified", "normalized", "sysAttrs", "count", *more_options}
    if unknown := sorted(options - allowed):
        raise Problem(400, f"{unknown[0][:40]!r}: there are {', '.join(sorted(allowed))}", "options")
    counts = query.get("count", "false")
    if counts not in ("true", "false"):
        raise Problem(400, "true or false", "count")
    has_count = counts == "true" or "count" in options
    limit = _number(query, "limit", page, 1_000_000)
    if limit > max_page:
        raise Problem(
            403, f"at most {max_page} entities in one answer; go on by the link `next`", "limit", "TooManyResults"
        )
    if limit == 0 and not has_count:
        raise Problem(400, "0 goes with count=true only", "limit")
    attrs = tuple(part.strip() for part in query.get("attrs", "").split(",") if part.strip())
    terms = _terms(query.get("q", ""))
    ids = _ids(query["id"]) if "id" in query else None
    return Asked(
        _models(query.get("type"), ids, attrs, terms),
        ids,
        attrs,
        terms,
        _area(query),
        limit,
        _number(query, "offset", 0, _MAX_OFFSET),
        has_count,
        bool(options & {"keyValues", "simplified"}),
        "sysAttrs" in options,
        _after(query.get("after", "")),
        options,
    )


def _number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > most:
        raise Problem(400, f"a whole number of 0 to {most}", name)
    return int(text)


def _ids(text: str) -> dict[str, tuple[str, ...]]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _MAX_IDS:
        raise Problem(400, f"at most {_MAX_IDS} ids", "id")
    found: dict[str, tuple[str, ...]] = {}
    for part in parts:
        if known := split_id(part):
            found[known[0].name] = (*found.get(known[0].name, ()), known[1])
    return found


def _models(
    types: str | None, ids: Mapping[str, object] | None, attrs: tuple[str, ...], terms: tuple[Term, ...]
) -> tuple[Model, ...]:
    """Those that can have what is asked. A type that nobody knows has no entities and is no error."""
    if types is None:
        if ids is None and not attrs and not terms:
            raise Problem(400, "name a type, ids, attrs or q", "type")
        models = list(MODELS_BY_NAME.values())
    else:
        if not re.fullmatch(r"[^;()]{1,1000}", types):
            raise Problem(400, "names of types, with commas between them", "type")
        named = [model_of(part.strip()) for part in re.split(r"[,|]", types)]
        models = [one for one in dict.fromkeys(named) if one is not None]
    for term in terms:
        if not any(term.attribute in attributes(one) for one in MODELS_BY_NAME.values()):
            raise Problem(400, f"no entity has {term.attribute[:40]!r}", "q")
    return tuple(
        one
        for one in models
        if (ids is None or one.name in ids)
        and (not attrs or set(attrs) & set(attributes(one)))
        and all(term.attribute in attributes(one) for term in terms)
    )


def _terms(text: str) -> tuple[Term, ...]:
    terms: list[Term] = []
    for found in joined(text, _TERM, "q", "comparisons (==, !=, >, >=, <, <=) joined by `;`"):
        values = tuple(part.strip('"') for part in re.findall(_VALUE, found[3] or ""))
        op: Op = found[2] or ""  # type: ignore[assignment]
        if len(values) > _MAX_VALUES or (len(values) > 1 and op not in ("==", "!=")):
            raise Problem(400, f"a list goes with == and !=, and has at most {_MAX_VALUES} values", "q")
        terms.append(Term(found[1], op, values))
    return tuple(terms)


def comparable(model: Model) -> list[str]:
    """What `q` may compare, beside being there."""
    facts = [name for name, column in FACTS_OF[model.name].items() if column]
    return [model.time, *(one.name for one in model.measured), *facts]


def _area(query: Mapping[str, str]) -> Area | None:
    given = [name for name in ("georel", "geometry", "coordinates") if name in query]
    if not given:
        return None
    if len(given) < 3 or query.get("geoproperty", "location") != "location":
        raise Problem(400, "georel, geometry and coordinates go together, on location", "georel")
    near = _NEAR.fullmatch(query["georel"])
    try:
        if near and query["geometry"] == "Point":
            points = [msgspec.json.decode(query["coordinates"], type=tuple[float, float])]
        elif query["georel"] == "within" and query["geometry"] == "Polygon":
            (points,) = msgspec.json.decode(query["coordinates"], type=list[list[tuple[float, float]]])
        else:
            raise Problem(
                400, "`near;maxDistance==METRES` (or minDistance) with a Point, or `within` with a Polygon", "georel"
            )
    except (msgspec.MsgspecError, ValueError):
        raise Problem(400, "longitude and latitude as GeoJSON has them; one ring of a polygon", "coordinates") from None
    if not near and not 4 <= len(points) <= _MAX_CORNERS:
        raise Problem(400, f"a ring has 4 to {_MAX_CORNERS} points, the last is the first", "coordinates")
    if any(not (math.isfinite(x + y) and abs(x) <= 180 and abs(y) <= 90) for x, y in points):
        raise Problem(400, "degrees: longitude, then latitude", "coordinates")
    return Area(tuple(points), float(near[2]) if near else 0, bool(near) and near[1] == "min")  # type: ignore[index]


def _after(text: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"([A-Za-z]{1,40}):([0-9]{1,10})", text)
    if text and not (found and found[1] in MODELS_BY_NAME):
        raise Problem(400, "not of a link of ours", "after")
    return (found[1], int(found[2])) if found else None
